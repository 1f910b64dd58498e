"""Stored minutes as columns: nothing is counted twice or lost, whatever the range."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatbath.serve.dashboard.history import MAX_POINTS, build_columns, merge_distributions
from heatbath.serve.dashboard.tick import TICK_COLUMNS
from heatbath.serve.storage.minutes import Minute
from heatbath.serve.telemetry.running_totals import HISTOGRAM_EDGES

NOW = 1_000_000_020.0
BINS = len(HISTOGRAM_EDGES["entropy"]) + 1


def minute(ago: int, counts: dict[str, float], model: str = "m", **histograms: Any) -> Minute:
    return Minute((NOW // 60 - ago) * 60, model, counts, histograms)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 7 * 24 * 60 - 10), st.integers(1, 1000)), max_size=30),
    st.sampled_from([6, 24, 168]),
)
def test_requests_add_up(happened: list[tuple[int, int]], hours: int) -> None:
    inside = [(ago, count) for ago, count in happened if ago < hours * 60 - 10]
    found = build_columns([minute(ago, {"requests": count}) for ago, count in inside], NOW - hours * 3600, NOW)
    assert set(found) == set(TICK_COLUMNS)
    assert len(found["t"]) <= MAX_POINTS + 2
    wide = found["t"][1] - found["t"][0] if len(found["t"]) > 1 else 60 * max(1, round(hours * 60 / MAX_POINTS))
    assert math.isclose(sum(found["requests"]) * wide, sum(count for _, count in inside), abs_tol=1e-6)
    assert all(later > earlier for earlier, later in zip(found["t"], found["t"][1:], strict=False))


def test_what_was_not_measured_is_missing_and_not_nought() -> None:
    one = minute(5, {"requests": 2, "prompt_tokens": 10, "cached_tokens": 4, "duration_sum": 30, "waited_sum": 6})
    found = build_columns([one], NOW - 3600, NOW)
    assert found["first_p50"] == [None] * 6
    assert found["prefix"][0] == 0.4 and found["prefix"][1] is None
    assert found["running"][0] == pytest.approx(24 / 60) and found["waiting"][0] == pytest.approx(0.1)
    assert found["requests"][1:] == [0.0] * 5


def test_no_minutes_are_no_points() -> None:
    assert build_columns([], NOW - 3600, NOW) == {name: [] for name in TICK_COLUMNS}


def test_distributions_add_up_by_model_and_leave_out_foreign_bins() -> None:
    ours = [1.0] * BINS
    minutes = [
        minute(1, {"entropy_sum": 10.0}, entropy=ours),
        minute(2, {"entropy_sum": 20.0}, entropy=ours),
        minute(2, {}, entropy=[7.0] * 3),
        minute(2, {"requests": 1}, "other"),
    ]
    found = merge_distributions(minutes)
    assert list(found) == ["m"]
    assert found["m"]["entropy"]["counts"] == [2.0] * BINS
    assert found["m"]["entropy"]["mean"] == pytest.approx(30 / (2 * BINS))
