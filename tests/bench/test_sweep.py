"""The sweep group counts TURN's tokens in full, and says when a width or a range was not reached."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from heatbath.bench import sweep as bench
from heatbath.models import UrnModel
from heatbath.phases import PhaseMap, SweepPlan, sweep

PLAN = SweepPlan(low=0.4, high=2.0, length=32, sequences=64, batch=32, anchors=8)


@pytest.fixture(scope="module")
def small() -> PhaseMap:
    return sweep(UrnModel(1.0), plan=PLAN)


def test_turn_draws_32_texts_at_14_temperatures() -> None:
    _, tokens = bench.run_turn(UrnModel(1.0), PLAN)
    assert tokens == 14 * 32 * 32 and len(bench.TURN_TEMPERATURES) == 14
    assert bench.SMALL_PLAN.sequences <= 14 * 32 / 3


@pytest.mark.parametrize(("width", "seconds", "met"), [(0.2, 1.9, True), (0.2, 2.1, False), (0.25, 1.0, False)])
def test_a_width_must_be_reached_in_half_the_time(
    small: PhaseMap, monkeypatch: pytest.MonkeyPatch, width: float, seconds: float, met: bool
) -> None:
    def time_sweep(model: object, plan: SweepPlan) -> bench.TimedMap:
        size = 0.2 if plan.width is None else width
        edges = [replace(edge, interval=(0.5, 0.5 + size)) for edge in small.edges]
        return bench.TimedMap(replace(small, edges=edges), 4.0 if plan.width is None else seconds)

    monkeypatch.setattr(bench, "time_sweep", time_sweep)
    line = bench.compare_to_fixed_plan(UrnModel(1.0), PLAN)
    assert line.ratio == pytest.approx(seconds / 4) and line.met is met
    assert ("reached 0.25" in line.name) is (width == 0.25)


def test_an_edge_that_was_not_found_has_no_width(small: PhaseMap) -> None:
    lost = [replace(edge, temperature=None, interval=None) for edge in small.edges]
    assert bench.TimedMap(replace(small, edges=lost), 1.0).widest_edge() == math.inf


@pytest.mark.parametrize("advised", [None, (0.6, 0.9)])
def test_fewer_tokens_without_a_range_do_not_count(
    small: PhaseMap, monkeypatch: pytest.MonkeyPatch, advised: tuple[float, float] | None
) -> None:
    map_ = replace(small, advice=replace(small.advice, range=advised))
    monkeypatch.setattr(bench, "sweep", lambda model, plan: map_)
    monkeypatch.setattr(bench, "run_turn", lambda model, plan: (0.8, 14 * 32 * 32))
    line = bench.compare_to_turn(UrnModel(1.0), PLAN)
    assert line.ratio == pytest.approx(64 / 448) and line.met is (advised is not None)
    assert ("no range" in line.name) is (advised is None) and "TURN (T = 0.8)" in line.name
