"""Many rows, many threads: the same numbers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ensembles import normal

from heatbath.ensemble import nodes, state
from heatbath.kernels import thread_pool


def test_one_thread_or_several_give_the_same_bits(monkeypatch):
    energies = normal(0, (33, 20_000)).astype(np.float32)
    monkeypatch.setattr(thread_pool, "thread_count", lambda: 1)
    one = state(energies, 0.9)
    monkeypatch.setattr(thread_pool, "thread_count", lambda: 5)
    many = state(energies, 0.9)
    for name in ("log_z", "entropy", "variance"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))


def test_calls_from_several_threads_at_once():
    energies = [normal(seed, (8, 20_000)).astype(np.float32) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(nodes, energies))
    for given, kept in zip(energies, found, strict=True):
        np.testing.assert_array_equal(kept.log_z_k, nodes(given).log_z_k)


def test_a_failure_on_another_thread_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(thread_pool, "thread_count", lambda: 2)

    def kernel(start: int, stop: int) -> None:
        if start:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        thread_pool.share_rows(kernel, 4, 1 << 30)


def test_a_worker_that_wakes_late_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(thread_pool, "thread_count", lambda: 2)
    asleep, covered = threading.Event(), []
    (worker,) = thread_pool.thread_workers(1)
    woken = worker.submit(lambda: asleep.wait(30))
    thread_pool.share_rows(lambda start, stop: covered.extend(range(start, stop)), 64, 1 << 30)
    assert sorted(covered) == list(range(64))
    asleep.set()
    woken.acquire()
