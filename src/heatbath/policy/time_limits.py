"""A limit on the time of a call that cannot be interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
_MAX_ABANDONED = 4


class TimeLimitExceeded(TimeoutError):
    """A call took longer than it may, or earlier ones that did are still running."""


class LimitedFunction(Generic[T]):
    """A function of a text that is waited for `seconds` at most.

    Each call runs in a thread of its own. One that is late is abandoned, because Python cannot end it; while four of
    these run, further calls fail at once, so that a function that hangs does not collect threads. Thread-safe.
    """

    def __init__(self, function: Callable[[str], T], seconds: float) -> None:
        self._function, self.seconds = function, seconds
        self._lock = threading.Lock()
        self._abandoned = 0

    def __call__(self, text: str) -> T:
        """Return the value of the function. Raises what it raises, and `TimeLimitExceeded`."""
        if self._abandoned >= _MAX_ABANDONED:
            raise TimeLimitExceeded(f"{self._abandoned} earlier calls are still running.")
        call = _Call(self._function, text)
        threading.Thread(target=call.run, args=(self._release,), daemon=True).start()
        if not call.done.wait(self.seconds):
            with self._lock:
                if not call.done.is_set():
                    call.is_abandoned = True
                    self._abandoned += 1
                    raise TimeLimitExceeded(f"no value after {self.seconds:g} s.")
        return call.result()

    def _release(self, call: _Call[T]) -> None:
        """Mark a call as done; one that was abandoned makes room for another."""
        with self._lock:
            call.done.set()
            self._abandoned -= call.is_abandoned


class _Call(Generic[T]):
    """A running call, and its value or exception."""

    def __init__(self, function: Callable[[str], T], text: str) -> None:
        self._function, self._text = function, text
        self.done, self.is_abandoned = threading.Event(), False
        self._values: list[T] = []
        self._error: BaseException | None = None

    def run(self, release: Callable[[_Call[T]], None]) -> None:
        try:
            self._values.append(self._function(self._text))
        except BaseException as error:
            self._error = error
        release(self)

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._values[0]
