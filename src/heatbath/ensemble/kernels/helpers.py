"""Threads that help the thread they belong to, and end with it; starting one a call takes longer than a kernel."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from queue import SimpleQueue

Act = Callable[[], None]
Asked = tuple[Act, threading.Lock]


class Helper:
    """A thread that does one thing after another."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[Asked | None] = SimpleQueue()
        # The thread knows the queue and not the helper, which therefore goes with its owner.
        threading.Thread(target=_serve, args=(self._asked,), name="heatbath-kernels", daemon=True).start()
        weakref.finalize(self, self._asked.put, None).atexit = False

    def begin(self, act: Act) -> threading.Lock:
        """Have `act` done, which must not raise; the lock that comes back can be had when it is.

        Each has a lock of its own, so that who stops waiting for one cannot take it for the next.
        """
        done = threading.Lock()
        done.acquire()
        self._asked.put((act, done))
        return done


class _Own(threading.local):
    """The helpers of each thread, and the process they are of: a fork takes no threads along."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.helpers: list[Helper] = []


_own = _Own()


def helpers_of_this_thread(count: int) -> Sequence[Helper]:
    """So many helpers, idle; the same at every call."""
    if not count:
        return ()
    if _own.process != os.getpid():
        _own.process, _own.helpers = os.getpid(), []
    while len(_own.helpers) < count:
        _own.helpers.append(Helper())
    return _own.helpers[:count]


def _serve(asked: SimpleQueue[Asked | None]) -> None:
    while (given := asked.get()) is not None:
        act, done = given
        act()
        # What it worked on must not live until the next call.
        del act, given
        done.release()
