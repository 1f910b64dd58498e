"""Workers: one set for each calling thread, new ones after a fork, ended with their owner."""

from __future__ import annotations

import os
import threading
import time

import pytest

from heatbath.kernels.thread_pool import thread_workers


def _helping() -> int:
    return sum(thread.name == "heatbath-kernels" for thread in threading.enumerate())


def test_the_same_help_again_and_again_and_others_for_another_thread():
    mine = list(thread_workers(2))
    assert list(thread_workers(2)) == mine
    found = []
    other = threading.Thread(target=lambda: found.extend(thread_workers(2)))
    other.start()
    other.join()
    assert not set(mine) & set(found)


def test_what_is_done_is_done_when_its_lock_can_be_had():
    (worker,) = thread_workers(1)
    done: list[int] = []
    slow, quick = (lambda: (time.sleep(0.05), done.append(0))), (lambda: done.append(1))
    worker.submit(slow)  # nobody waits for it
    worker.submit(quick).acquire()
    assert done == [0, 1]


def test_they_end_with_the_thread_they_help():
    before = _helping()
    owner = threading.Thread(target=lambda: thread_workers(3))
    owner.start()
    owner.join()
    end = time.monotonic() + 5
    while _helping() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert _helping() <= before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork with threads running is what is tried here
def test_a_fork_gets_its_own():
    thread_workers(1)
    child = os.fork()
    if not child:
        (worker,) = thread_workers(1)
        os._exit(0 if worker.submit(lambda: None).acquire(timeout=5) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
