"""Lifecycle of the server: starting, open, draining; and the requests that are active."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class ActiveRequest:
    """An active request. `is_inference`: it is waited for at shutdown, unlike a page that only listens."""

    is_inference: bool
    task: asyncio.Task[object]
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Cancel it; its client gets an error if the response can still hold one."""
        self.is_cancelled = True
        self.task.cancel()


@dataclass
class Lifecycle:
    """State of the server: "starting", "open", then "draining", never back. `startup_error`: why the start failed."""

    state: str = "starting"
    has_opened: bool = False
    startup_error: BaseException | None = None
    active_requests: set[ActiveRequest] = field(default_factory=set)
    on_open: Callable[[], None] = lambda: None
    on_failure: Callable[[], None] = lambda: None

    @property
    def unavailable_reason(self) -> str | None:
        """One sentence on why requests are refused, None if they are not."""
        if self.state == "open":
            return None
        return "the model is being loaded" if self.state == "starting" else "the server is shutting down"

    @property
    def is_draining(self) -> bool:
        """Whether the server is shutting down."""
        return self.state == "draining"

    @property
    def num_inference_requests(self) -> int:
        """Number of active requests that shutdown waits for."""
        return sum(visit.is_inference for visit in self.active_requests)

    def open(self) -> None:
        """Admit requests, unless the server is shutting down already."""
        if self.state == "starting":
            self.state = "open"
            self.has_opened = True
            self.on_open()

    def fail(self, error: BaseException) -> None:
        """Note that the engine could not start: no request will ever be admitted."""
        self.startup_error = error
        self.on_failure()

    def drain(self) -> None:
        """Admit no more requests, and cancel those that only listen."""
        self.state = "draining"
        for visit in list(self.active_requests):
            if not visit.is_inference:
                visit.cancel()

    def cancel_all(self) -> None:
        """Cancel all active requests."""
        for visit in list(self.active_requests):
            visit.cancel()
