"""Freed memory goes back to the system when work pauses, and now and then while it goes on."""

from __future__ import annotations

import pytest

from heatbath.kernels import heap


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which tests set, and the times at which the heap was trimmed after it."""
    times = [100.0]
    monkeypatch.setattr(heap.time, "monotonic", lambda: times[0])
    monkeypatch.setattr(heap, "trim_heap", lambda: times.append(times[0]))
    return times


def test_the_heap_is_trimmed_once_at_a_pause(clock: list[float]) -> None:
    trimmer = heap.HeapTrimmer()
    for is_idle in (True, False, True, True, True, False, True):
        trimmer.end_step(is_idle=is_idle)
    assert clock[1:] == [100.0, 100.0]


def test_the_heap_is_trimmed_each_minute_of_work(clock: list[float]) -> None:
    trimmer = heap.HeapTrimmer()
    for second in range(180):
        clock[0] = 100.0 + second
        trimmer.end_step(is_idle=False)
    assert clock[1:] == [160.0, 220.0]


def test_trimming_and_limiting_work_where_there_is_no_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    heap.trim_heap()
    heap._load_glibc.cache_clear()
    monkeypatch.setattr(heap.sys, "platform", "darwin")
    heap.trim_heap()
    heap.limit_arenas()
    heap._load_glibc.cache_clear()
