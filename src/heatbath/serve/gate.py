"""Whether requests may come in, and which are inside: closed while the engine starts and while the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class Visit:
    """A request inside. `work`: worth waiting for at the end (an answer), unlike a page that only listens."""

    work: bool
    task: asyncio.Task[object]
    cut: bool = False

    def end(self) -> None:
        """Interrupt it; what is still owed to the client is told it was cut."""
        self.cut = True
        self.task.cancel()


@dataclass
class Gate:
    """Begins "starting"; `open` and `drain` move it on, never back. `failure` is why it could not start."""

    state: str = "starting"
    opened: bool = False
    failure: BaseException | None = None
    visits: set[Visit] = field(default_factory=set)
    on_open: Callable[[], None] = lambda: None
    on_failure: Callable[[], None] = lambda: None

    @property
    def trouble(self) -> str | None:
        """One sentence on why nothing may come in, None if it may."""
        if self.state == "open":
            return None
        return "the model is being loaded" if self.state == "starting" else "the server is shutting down"

    @property
    def draining(self) -> bool:
        """Whether the end has begun."""
        return self.state == "draining"

    @property
    def working(self) -> int:
        """Requests inside that are worth waiting for."""
        return sum(visit.work for visit in self.visits)

    def open(self) -> None:
        """Let requests in, unless the end has begun already."""
        if self.state == "starting":
            self.state = "open"
            self.opened = True
            self.on_open()

    def fail(self, error: BaseException) -> None:
        """The engine could not start: nothing will ever come in."""
        self.failure = error
        self.on_failure()

    def drain(self) -> None:
        """Let nothing in any more; those who only listen are sent away at once."""
        self.state = "draining"
        for visit in list(self.visits):
            if not visit.work:
                visit.end()

    def cut(self) -> None:
        """Interrupt whatever is still inside."""
        for visit in list(self.visits):
            visit.end()
