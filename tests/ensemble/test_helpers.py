"""Threads that help: one set for each thread, none after a fork, gone with their owner."""

from __future__ import annotations

import os
import threading
import time

import pytest

from heatbath.ensemble.kernels.helpers import current_thread_workers


def _helping() -> int:
    return sum(thread.name == "heatbath-kernels" for thread in threading.enumerate())


def test_the_same_help_again_and_again_and_others_for_another_thread():
    mine = list(current_thread_workers(2))
    assert list(current_thread_workers(2)) == mine
    found = []
    other = threading.Thread(target=lambda: found.extend(current_thread_workers(2)))
    other.start()
    other.join()
    assert not set(mine) & set(found)


def test_what_is_done_is_done_when_its_lock_can_be_had():
    (helper,) = current_thread_workers(1)
    done: list[int] = []
    slow, quick = (lambda: (time.sleep(0.05), done.append(0))), (lambda: done.append(1))
    helper.submit(slow)  # nobody waits for it
    helper.submit(quick).acquire()
    assert done == [0, 1]


def test_they_end_with_the_thread_they_help():
    before = _helping()
    owner = threading.Thread(target=lambda: current_thread_workers(3))
    owner.start()
    owner.join()
    end = time.monotonic() + 5
    while _helping() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert _helping() <= before


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork with threads running is what is tried here
def test_a_fork_gets_its_own():
    current_thread_workers(1)
    child = os.fork()
    if not child:
        (helper,) = current_thread_workers(1)
        os._exit(0 if helper.submit(lambda: None).acquire(timeout=5) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
