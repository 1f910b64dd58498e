"""Whether requests may come in, and which are inside: closed while the engine starts and while the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class ActiveRequest:
    """A request inside. `work`: worth waiting for at the end (an answer), unlike a page that only listens."""

    is_inference: bool
    task: asyncio.Task[object]
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Interrupt it; what is still owed to the client is told it was cut."""
        self.is_cancelled = True
        self.task.cancel()


@dataclass
class Lifecycle:
    """Begins "starting"; `open` and `drain` move it on, never back. `failure` is why it could not start."""

    state: str = "starting"
    has_opened: bool = False
    startup_error: BaseException | None = None
    active_requests: set[ActiveRequest] = field(default_factory=set)
    on_open: Callable[[], None] = lambda: None
    on_failure: Callable[[], None] = lambda: None

    @property
    def unavailable_reason(self) -> str | None:
        """One sentence on why nothing may come in, None if it may."""
        if self.state == "open":
            return None
        return "the model is being loaded" if self.state == "starting" else "the server is shutting down"

    @property
    def is_draining(self) -> bool:
        """Whether the end has begun."""
        return self.state == "draining"

    @property
    def num_inference_requests(self) -> int:
        """Requests inside that are worth waiting for."""
        return sum(visit.is_inference for visit in self.active_requests)

    def open(self) -> None:
        """Let requests in, unless the end has begun already."""
        if self.state == "starting":
            self.state = "open"
            self.has_opened = True
            self.on_open()

    def fail(self, error: BaseException) -> None:
        """The engine could not start: nothing will ever come in."""
        self.startup_error = error
        self.on_failure()

    def drain(self) -> None:
        """Let nothing in any more; those who only listen are sent away at once."""
        self.state = "draining"
        for visit in list(self.active_requests):
            if not visit.is_inference:
                visit.cancel()

    def cancel_all(self) -> None:
        """Interrupt whatever is still inside."""
        for visit in list(self.active_requests):
            visit.cancel()
