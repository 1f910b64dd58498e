"""Threads on which texts are judged, so that a slow rule delays its own request alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

MAX_THREADS = 64
"""Most threads. A rule that never returns keeps one for good; once all are kept, every further verdict is late."""


class JudgePool:
    """Daemon threads, started as they are needed: a rule that hangs must not keep the process from ending."""

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._max_threads = max_threads
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._num_threads = 0

    async def run(self, function: Callable[[], T], seconds: float) -> T:
        """Return what `function` returns on one of the threads.

        Raises:
            TimeoutError: it does not within `seconds`; what it returns later is dropped. Else what it raises.
        """
        future: Future[T] = Future()
        if not self._idle.acquire(blocking=False) and self._num_threads < self._max_threads:
            self._num_threads += 1
            threading.Thread(target=self._work, name="heatbath-policy", daemon=True).start()
        self._jobs.put((function, future))
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while True:
            function, future = self._jobs.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:
                    # An exit that a rule asks for is not to end the event loop.
                    future.set_exception(error if isinstance(error, Exception) else RuntimeError(type(error).__name__))
            # What was judged must not live until the next text.
            del function, future
            self._idle.release()
