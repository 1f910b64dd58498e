"""Threads that help the thread they belong to, and end with it; starting one a call takes longer than a kernel."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from queue import SimpleQueue

Work = Callable[[], None]
WorkItem = tuple[Work, threading.Lock]


class WorkerThread:
    """A thread that does one thing after another."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[WorkItem | None] = SimpleQueue()
        # The thread knows the queue and not the helper, which therefore goes with its owner.
        threading.Thread(target=_run_worker, args=(self._queue,), name="heatbath-kernels", daemon=True).start()
        weakref.finalize(self, self._queue.put, None).atexit = False

    def submit(self, work: Work) -> threading.Lock:
        """Have `act` done, which must not raise; the lock that comes back can be had when it is.

        Each has a lock of its own, so that who stops waiting for one cannot take it for the next.
        """
        done = threading.Lock()
        done.acquire()
        self._queue.put((work, done))
        return done


class _ThreadWorkers(threading.local):
    """The helpers of each thread, and the process they are of: a fork takes no threads along."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.workers: list[WorkerThread] = []


_thread_workers = _ThreadWorkers()


def current_thread_workers(count: int) -> Sequence[WorkerThread]:
    """So many helpers, idle; the same at every call."""
    if not count:
        return ()
    if _thread_workers.process != os.getpid():
        _thread_workers.process, _thread_workers.workers = os.getpid(), []
    while len(_thread_workers.workers) < count:
        _thread_workers.workers.append(WorkerThread())
    return _thread_workers.workers[:count]


def _run_worker(queue: SimpleQueue[WorkItem | None]) -> None:
    while (given := queue.get()) is not None:
        act, done = given
        act()
        # What it worked on must not live until the next call.
        del act, given
        done.release()
