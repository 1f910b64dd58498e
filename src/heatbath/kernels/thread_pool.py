"""Threads that share the rows of a kernel.

Kernels release the interpreter lock and get a slice of the rows each, on plain threads: numba's own thread pools do not
survive a fork or calls from several threads. Each calling thread has workers of its own, which end with it, because
starting a thread takes longer than a small kernel.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

Job = Callable[[], None]
Task = tuple[Job, threading.Lock]
WORK_PER_THREAD = 1 << 17
"""Elements below which another thread costs more than it saves."""
SLICES_PER_THREAD = 4
"""Parts into which the rows of a thread are split, so that threads of unequal speed finish together."""


class Worker:
    """A thread that runs jobs one after another."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        # The thread refers to the queue and not to the worker, which is therefore freed with its owner.
        threading.Thread(target=_run_tasks, args=(self._tasks,), name="heatbath-kernels", daemon=True).start()
        weakref.finalize(self, self._tasks.put, None).atexit = False

    def submit(self, job: Job) -> threading.Lock:
        """Queue a job, which must not raise, and return a lock that can be acquired once the job is done.

        Each job has a lock of its own, so that a caller who stops waiting for one cannot mistake it for the next.
        """
        done = threading.Lock()
        done.acquire()
        self._tasks.put((job, done))
        return done


class _WorkerSet(threading.local):
    """The workers of each thread, and the process they belong to: a fork copies no threads."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.workers: list[Worker] = []


_local = _WorkerSet()


def thread_workers(count: int) -> Sequence[Worker]:
    """Return `count` idle workers of the calling thread, the same ones at every call."""
    if not count:
        return ()
    if _local.process != os.getpid():
        _local.process, _local.workers = os.getpid(), []
    while len(_local.workers) < count:
        _local.workers.append(Worker())
    return _local.workers[:count]


def _run_tasks(tasks: SimpleQueue[Task | None]) -> None:
    while (task := tasks.get()) is not None:
        job, done = task
        job()
        # The arrays of the job must not live until the next one.
        del job, task
        done.release()


def thread_count() -> int:
    """Return the number of processors this process may use, or of torch's threads if that is lower."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch = sys.modules.get("torch")
    return min(processors, torch.get_num_threads()) if torch is not None else processors


def share_rows(kernel: Callable[..., Any], rows: int, work: int, *arguments: Any) -> None:
    """Run `kernel(start, stop, *arguments)` over all rows on several threads; `work` is the number of elements.

    Each thread takes the next slice of rows when it has finished one. Workers that start too late to get a slice are
    not waited for.
    """
    max_slices = max(1, min(rows, work // WORK_PER_THREAD))
    threads = min(thread_count(), max_slices)
    count = min(SLICES_PER_THREAD * threads, max_slices) if threads > 1 else 1
    # A step of this iterator is atomic, so that each slice goes to one thread alone.
    slices = iter([(rows * i // count, rows * (i + 1) // count) for i in range(count)])
    busy: list[int] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            for start, stop in slices:
                kernel(start, stop, *arguments)
        except BaseException as failure:
            failures.append(failure)

    def assist(index: int) -> None:
        busy.append(index)  # before a slice is taken: a worker that is not listed can no longer get one
        run()

    locks = [worker.submit(partial(assist, i)) for i, worker in enumerate(thread_workers(threads - 1))]
    run()
    for index in tuple(busy):
        locks[index].acquire()
    if failures:
        raise failures[0]
