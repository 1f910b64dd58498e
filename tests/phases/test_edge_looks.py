"""Sweeps that stop at a width: texts go to the edges, sampling ends, and the interval still covers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from heatbath.errors import BadInput
from heatbath.estimate.crossings import half_crossings
from heatbath.estimate.finite_size import EdgeEstimate
from heatbath.models import UrnModel
from heatbath.phases import SweepPlan, sampling, sweep
from heatbath.phases.edge_looks import aim_at_edges, is_narrow, widen_edge
from heatbath.phases.edges import Edge
from heatbath.phases.sampling import draw_batches

PLAN = SweepPlan(low=0.4, high=2.0, length=32, sequences=160, batch=32, anchors=8, seed=3)
THIN = np.linspace(0.4, 2.0, 32)


def edge(name: str, low: float, high: float) -> Edge:
    middle = 0.5 * (low + high)
    one = EdgeEstimate("a", middle, (low, high), {32: middle}, True, "holds as the text grows")
    return Edge(name, middle, (low, high), "two estimators agree", (one, one))


LOST = Edge("melt", None, None, "not found", (EdgeEstimate("a", None, None, {}, False, "not found"),))


def test_an_edge_is_narrow_if_it_was_found_within_the_width() -> None:
    assert is_narrow(edge("melt", 0.9, 1.0), 0.11) and not is_narrow(edge("melt", 0.9, 1.0), 0.09)
    assert is_narrow(replace(edge("melt", 0.9, 1.0), temperature=None), 0.11) and not is_narrow(LOST, 10.0)


def test_a_narrow_edge_is_reported_as_wide_as_was_asked_for() -> None:
    wider = widen_edge(edge("melt", 0.9, 1.0), 0.2)
    assert wider.interval == pytest.approx((0.85, 1.05)) and wider.temperature == pytest.approx(0.95)
    for other in (edge("melt", 0.8, 1.1), LOST):
        assert widen_edge(other, 0.2) == other


def test_most_texts_go_to_edges_that_are_still_wide() -> None:
    chosen = aim_at_edges([edge("freeze", 0.45, 0.55), edge("melt", 0.8, 1.2)], THIN, (0.4, 2.0), 0.15)
    assert len(chosen) == 32 and (np.diff(chosen) >= 0).all()
    assert ((chosen > 0.65) & (chosen < 1.35)).sum() >= 24, "melt is wide, freeze is narrow"
    assert (chosen < 0.65).any() and (chosen > 1.35).any(), "the rest of the range keeps a few"


def test_without_a_wide_edge_texts_go_where_they_are_few() -> None:
    for edges in ([], [LOST, LOST], [edge("freeze", 0.45, 0.5), LOST]):
        assert np.array_equal(aim_at_edges(edges, THIN, (0.4, 2.0), 0.1), THIN)


def test_texts_stay_within_the_range() -> None:
    chosen = aim_at_edges([edge("freeze", 0.38, 0.5), edge("melt", 1.8, 2.4)], THIN, (0.4, 2.0), 0.01)
    assert chosen.min() >= 0.4 - 1e-12 and chosen.max() <= 2.0 + 1e-12


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Looks that find both edges with an interval of 1 / sqrt(texts); the number of texts of each look."""
    seen: list[int] = []

    def look(model: object, samples: object, seed: int) -> tuple[Edge, Edge]:
        seen.append(len(samples))  # type: ignore[arg-type]
        half = 0.5 / np.sqrt(seen[-1])
        return edge("freeze", 0.6 - half, 0.6 + half), edge("melt", 1.2 - half, 1.2 + half)

    monkeypatch.setattr(sampling, "look_at_edges", look)
    return seen


def test_a_sweep_stops_at_the_first_look_with_narrow_edges(looks: list[int], tmp_path: Path) -> None:
    plan = replace(PLAN, width=1.01 / np.sqrt(96))
    *_, samples = draw_batches(UrnModel(1.0), plan, tmp_path)
    assert len(samples) == 96 and looks == [64, 96]
    *_, again = draw_batches(UrnModel(1.0), plan, tmp_path)
    assert np.array_equal(again.tokens, samples.tokens), "a resumed sweep stops where it stopped"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_width_out_of_reach_takes_all_texts(looks: list[int]) -> None:
    *_, samples = draw_batches(UrnModel(1.0), replace(PLAN, width=0.01))
    assert len(samples) == 160 and looks == [64, 96, 128]


def test_edges_that_are_not_found_take_all_texts() -> None:
    chart = sweep(UrnModel(1.0), plan=replace(PLAN, sequences=96), width=5.0)
    assert chart.edge("melt").interval is None and chart.budget.sequences == 96


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_is_positive(width: float) -> None:
    with pytest.raises(BadInput, match="`width` must be positive"):
        sweep(UrnModel(1.0), plan=PLAN, width=width)


def stopped_interval(seed: int, width: float, most: int = 320) -> tuple[float, float, int]:
    """A crossing at 0.8 found from outcomes in batches of 32, at first over the whole range, then aimed at it.

    The bootstrap interval at the first look at which it is narrow enough, and the number of outcomes.
    """
    rng = np.random.default_rng(seed)
    x = np.linspace(0.3, 1.5, 64)
    hit = (rng.random(64) < expit((0.8 - x) / 0.06)).astype(float)
    while True:
        found = half_crossings(x, hit, rng.exponential(size=(100, len(x))))[0]
        low, high = np.nanquantile(found, [0.025, 0.975]).tolist()
        now = edge("freeze", low, high)
        if is_narrow(now, width) or len(x) >= most:
            return low, high, len(x)
        more = aim_at_edges([now], THIN, (0.3, 1.5), width)
        x, hit = np.append(x, more), np.append(hit, rng.random(32) < expit((0.8 - more) / 0.06))


def covers(low: float, high: float, width: float) -> bool:
    interval = widen_edge(edge("freeze", low, high), width).interval
    return interval is not None and interval[0] <= 0.8 <= interval[1]


def test_the_interval_of_a_stopped_sweep_covers() -> None:
    """Of 50 at least 41: with a coverage of 92 % fewer with a probability below 1 %."""
    runs = [stopped_interval(seed, 0.1) for seed in range(50)]
    assert sum(covers(low, high, 0.1) for low, high, _ in runs) >= 41
    assert np.mean([count for *_, count in runs]) < 120, "most stop early"


@pytest.mark.slow
@pytest.mark.parametrize("width", [0.1, 0.06, 0.04, 0.0])
def test_intervals_cover_whatever_width_is_asked_for(width: float) -> None:
    """600 runs: a standard error of 1.1 %. A width of 0 takes all outcomes. Without widening, intervals cover less."""
    runs = [stopped_interval(1000 + seed, width) for seed in range(600)]
    covered = np.mean([covers(low, high, width) for low, high, _ in runs])
    bare = np.mean([covers(low, high, 0.0) for low, high, _ in runs])
    print(f"width {width}: {covered:.3f}, bare {bare:.3f}, {np.mean([count for *_, count in runs]):.0f} outcomes")
    assert covered > 0.9
    assert width == 0 or bare < covered
