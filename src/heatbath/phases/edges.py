r"""Freeze and melt edges: the temperatures at which loops set in and coherence is lost, with intervals.

Each edge has two estimators, evaluated at three lengths of text:

* freeze: half of the texts end in an exact cycle; in half of them the second half mostly repeats the first.
* melt: the entropy per token starts to rise along the text instead of falling; the heat capacity per token peaks.

An edge is reported when both estimators find it and it does not fade as the text grows; otherwise its verdict says what
failed. Where the two disagree the edge is an interval without a temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.crossings import half_crossing, half_crossings
from heatbath.estimate.finite_size import EdgeEstimate, estimate_edge
from heatbath.estimate.smooth import LinearSmoother
from heatbath.phases.curves import (
    THERMAL_RATES,
    ObservableColumn,
    PooledSamples,
    build_smoother,
    compute_points,
    rate_column,
    second_half,
    subtract_columns,
)
from heatbath.phases.observables import detect_loops, detect_stale_texts
from heatbath.phases.prefix_sums import SweepSamples, TextRange

Floats = NDArray[np.float64]

REPLICAS = 200
GRID_SIZE = 241
MIN_TEMPERATURES = 6
"""Temperatures with enough texts of a length that a feature of the curve is looked for."""
SIGNIFICANCE = 3.0
"""Standard errors by which the entropy flow must be negative below the melt edge and positive above it."""


@dataclass(frozen=True)
class Edge:
    """An edge of the phase map: `temperature` and `interval`, with the reason in `verdict`.

    Where the estimators disagree there is no temperature, only the interval that covers both; both are None where no
    edge was found.
    """

    name: str
    temperature: float | None
    interval: tuple[float, float] | None
    verdict: str
    estimators: tuple[EdgeEstimate, ...]

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.name}: no edge found ({self.verdict})"
        if self.temperature is None:
            return f"{self.name}: between T = {self.interval[0]:.2f} and {self.interval[1]:.2f} ({self.verdict})"
        return (
            f"{self.name}: T = {self.temperature:.2f} [{self.interval[0]:.2f}, {self.interval[1]:.2f}] ({self.verdict})"
        )


@dataclass(frozen=True)
class EdgeReplicas:
    """An estimate of an edge with its bootstrap replicas at the largest length of text, (r,); NaN is "not found"."""

    estimate: EdgeEstimate
    temperature_r: Floats


def combine_estimators(name: str, estimators: Sequence[EdgeEstimate]) -> Edge:
    """Combine estimators into one edge: the hull of their intervals and, if these overlap, their weighted mean."""
    failed = [one for one in estimators if not one.supported or one.interval is None or one.temperature is None]
    if failed:
        return Edge(name, None, None, "; ".join(f"{one.name}: {one.reason}" for one in failed), tuple(estimators))
    intervals = np.array([one.interval for one in estimators])
    hull = (float(intervals[:, 0].min()), float(intervals[:, 1].max()))
    if intervals[:, 0].max() > intervals[:, 1].min():
        return Edge(name, None, hull, "the estimators disagree; the interval covers both", tuple(estimators))
    weight = 1 / np.maximum(np.ptp(intervals, axis=1), 1e-6) ** 2
    temperature = float(np.average([one.temperature for one in estimators if one.temperature], weights=weight))
    return Edge(name, temperature, hull, "two estimators agree", tuple(estimators))


def text_sizes(length: int) -> tuple[int, int, int]:
    """The lengths of text at which an edge is estimated."""
    return length // 4, length // 2, length


def find_edges(
    pool: PooledSamples, pieces_nt: Sequence[Sequence[bytes]], rng: np.random.Generator
) -> tuple[Edge, Edge]:
    """Locate the freeze and the melt edge."""
    return find_freeze_edge(pool, pieces_nt, rng), find_melt_edge(pool, rng)


def find_freeze_edge(pool: PooledSamples, pieces_nt: Sequence[Sequence[bytes]], rng: np.random.Generator) -> Edge:
    """Locate the temperature below which texts loop."""
    draws = rng.exponential(size=(REPLICAS, len(pool.samples)))
    return combine_estimators("freeze", [one.estimate for one in replicate_freeze_edge(pool.samples, pieces_nt, draws)])


def replicate_freeze_edge(
    samples: SweepSamples, pieces_nt: Sequence[Sequence[bytes]], draws_rn: Floats
) -> list[EdgeReplicas]:
    """Estimate the freezing edge in every way; `draws_rn` (r, n) is how often each text counts in each replica."""
    sizes = text_sizes(samples.length)
    temperature_n = 1 / samples.betas
    cycles = {n: detect_loops(samples.tokens, n) for n in sizes}
    repeats = {n: detect_stale_texts(pieces_nt, n) for n in sizes}
    return [
        _locate_half_crossing("half of the texts end in a cycle", temperature_n, cycles, draws_rn),
        _locate_half_crossing("half of the texts say nothing new", temperature_n, repeats, draws_rn),
    ]


def _locate_half_crossing(name: str, temperature_n: Floats, hits: dict[int, Floats], draws: Floats) -> EdgeReplicas:
    at_size = {n: half_crossing(temperature_n, hit, np.ones_like(hit))[0] for n, hit in hits.items()}
    replicas = np.stack([half_crossings(temperature_n, hit, draws)[0] for hit in hits.values()], axis=1)
    # If random excitations break the cycles, doubling the text squares the share of cycles: one half becomes one
    # quarter, a step of ln 3 on the logistic scale.
    width = half_crossing(temperature_n, list(hits.values())[-1], np.ones_like(temperature_n))[1]
    return EdgeReplicas(estimate_edge(name, at_size, replicas, np.log(3) * width), replicas[:, -1])


def find_melt_edge(pool: PooledSamples, rng: np.random.Generator) -> Edge:
    """Locate the temperature above which texts lose coherence."""
    draws = rng.exponential(size=(REPLICAS, len(pool.samples)))
    return combine_estimators("melt", [one.estimate for one in replicate_melt_edge(pool, draws)])


def replicate_melt_edge(pool: PooledSamples, draws_rn: Floats) -> list[EdgeReplicas]:
    """Estimate the melting edge in every way; `draws_rn` (r, n) is how often each text counts in each replica."""
    estimators = [
        ("text grows less predictable", _entropy_flow_column, _find_zero_crossing),
        ("heat capacity peaks", _heat_capacity_column, _find_peak),
    ]
    return [_locate_smooth_feature(name, pool, draws_rn, data, feature) for name, data, feature in estimators]


Feature = Callable[[LinearSmoother, Floats], float]


def _locate_smooth_feature(
    name: str,
    pool: PooledSamples,
    draws: Floats,
    data: Callable[[PooledSamples, int], ObservableColumn],
    feature: Feature,
) -> EdgeReplicas:
    """Locate a feature of a smoothed curve at each length, and in bootstrap replicas with the same smoothing."""
    grid = np.linspace(pool.temperatures.min(), pool.temperatures.max(), GRID_SIZE)
    at_size: dict[int, float] = {}
    replicas = []
    for length in text_sizes(pool.samples.length):
        column = data(pool, length)
        points = compute_points(column, pool.temperatures)
        if np.isfinite(points.value).sum() < MIN_TEMPERATURES:
            missing = EdgeEstimate(name, None, None, at_size, False, f"too few texts reach {length} tokens")
            return EdgeReplicas(missing, np.full(len(draws), np.nan))
        smooth = build_smoother(points, pool, grid)
        at_size[length] = feature(smooth, smooth.apply(*column.moments())[0])
        replicas.append([feature(smooth, curve) for curve in smooth.apply(*column.replica_moments(draws))[0]])
    replicas_rs = np.array(replicas).T
    return EdgeReplicas(estimate_edge(name, at_size, replicas_rs), replicas_rs[:, -1])


def _heat_capacity_column(pool: PooledSamples, length: int) -> ObservableColumn:
    window = second_half(pool.samples, length)
    if pool.samples.may_end:
        # Few texts may be left in the second half: the average is over all tokens up to `length`.
        window = TextRange(-1, window.stop)
    return rate_column(pool, THERMAL_RATES["heat capacity"], window)


def _entropy_flow_column(pool: PooledSamples, length: int) -> ObservableColumn:
    """Entropy per token of the second half of a text minus that of the quarter before it.

    Where texts may end, those that reach `length` are compared with themselves: texts that end early differ from those
    that go on.
    """
    reach = pool.samples.find_prefix(length)
    late, early = second_half(pool.samples, length), second_half(pool.samples, length // 2)
    rate = THERMAL_RATES["entropy"]
    return subtract_columns(rate_column(pool, rate, late, reach=reach), rate_column(pool, rate, early, reach=reach))


def _find_zero_crossing(smooth: LinearSmoother, value: Floats) -> float:
    """Return the zero of a curve that is significantly negative and, hotter, positive; NaN if it is not both."""
    z = value / np.maximum(smooth.stderr[0], 1e-12)
    high = int(z.argmax())
    low = int(z[: high + 1].argmin())
    if z[high] < SIGNIFICANCE or z[low] > -SIGNIFICANCE:
        return float("nan")
    i = low + int(np.flatnonzero(value[low : high + 1] > 0)[0])
    share = value[i] / (value[i] - value[i - 1])
    return float(smooth.x[i] - share * (smooth.x[i] - smooth.x[i - 1]))


def _find_peak(smooth: LinearSmoother, value: Floats) -> float:
    """Return the position of the maximum; NaN at a border."""
    best = int(value.argmax())
    return float(smooth.x[best]) if 0 < best < len(value) - 1 else float("nan")
