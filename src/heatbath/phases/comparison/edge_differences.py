"""Differences of the freeze and melt edges between two sides: a bootstrap in which a pair counts alike on both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.finite_size import MIN_FOUND_SHARE, EdgeEstimate
from heatbath.estimate.paired_differences import draw_unit_weights, independent_difference, replica_interval
from heatbath.phases.comparison.comparison_data import EdgeDifference, EstimatorDifference
from heatbath.phases.comparison.paired_samples import SideSamples
from heatbath.phases.curves import pool_samples
from heatbath.phases.edges import (
    Edge,
    EdgeReplicas,
    combine_estimators,
    replicate_freeze_edge,
    replicate_melt_edge,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REPLICAS = 200


def compare_edges(a: SideSamples, b: SideSamples, unit_n: Ints, rng: np.random.Generator) -> list[EdgeDifference]:
    """Compare both edges of paired texts, estimator by estimator, at the length of the texts."""
    draws = draw_unit_weights(unit_n, REPLICAS, rng)
    freeze_a, freeze_b = (replicate_freeze_edge(side.samples, side.pieces, draws) for side in (a, b))
    melt_a, melt_b = (_replicate_melt(side, draws) for side in (a, b))
    return [_compare_replicas("freeze", freeze_a, freeze_b), _compare_replicas("melt", melt_a, melt_b)]


def _replicate_melt(side: SideSamples, draws: Floats) -> list[EdgeReplicas]:
    return replicate_melt_edge(pool_samples(side.samples, np.unique(1 / side.samples.betas)), draws)


def compare_independent_edges(a: Edge, b: Edge) -> EdgeDifference:
    """Compare an edge of two independent sweeps from the intervals of each estimator."""
    of_b = {one.name: one for one in b.estimators}
    pairs = [(one, of_b[one.name]) for one in a.estimators if one.name in of_b]
    return _combine_differences((a, b), tuple(_independent_difference(one, other) for one, other in pairs))


def _compare_replicas(name: str, a: Sequence[EdgeReplicas], b: Sequence[EdgeReplicas]) -> EdgeDifference:
    edge_a, edge_b = (combine_estimators(name, [one.estimate for one in side]) for side in (a, b))
    differences = tuple(_paired_difference(one, other) for one, other in zip(a, b, strict=True))
    return _combine_differences((edge_a, edge_b), differences)


def _combine_differences(sides: tuple[Edge, Edge], estimators: tuple[EstimatorDifference, ...]) -> EdgeDifference:
    """Combine the differences of all estimators: the hull of their intervals, with a value only if they agree."""
    (a, b), name = sides, sides[0].name
    intervals = [one.interval for one in estimators if one.interval is not None]
    if len(intervals) < len(estimators) or not intervals:
        missing = [one for one in estimators if one.interval is None]
        verdict = "; ".join(f"{one.name}: {one.reason}" for one in missing) or "no estimator in common"
        return EdgeDifference(name, a, b, None, None, verdict, estimators)
    bounds = np.array(intervals)
    hull = (float(bounds[:, 0].min()), float(bounds[:, 1].max()))
    if bounds[:, 0].max() > bounds[:, 1].min():
        verdict = "the estimators disagree on the difference; the interval covers both"
        return EdgeDifference(name, a, b, None, hull, verdict, estimators)
    weight = 1 / np.maximum(np.ptp(bounds, axis=1), 1e-6) ** 2
    value = float(np.average([one.difference for one in estimators if one.difference is not None], weights=weight))
    return EdgeDifference(name, a, b, value, hull, "two estimators agree on the difference", estimators)


def _paired_difference(a: EdgeReplicas, b: EdgeReplicas) -> EstimatorDifference:
    """Subtract the replicas of both sides, draw by draw."""
    missing = _missing_difference(a.estimate, b.estimate)
    if missing is not None:
        return missing
    replicas = b.temperature_r - a.temperature_r
    found = np.isfinite(replicas)
    if found.mean() < MIN_FOUND_SHARE:
        return _no_difference(a.estimate, b.estimate, f"not found in {1 - found.mean():.0%} of resamples of both sides")
    interval = replica_interval(replicas[found])
    return _estimator_difference(a.estimate, b.estimate, interval)


def _independent_difference(one: EdgeEstimate, other: EdgeEstimate) -> EstimatorDifference:
    """Subtract two estimates whose errors are independent."""
    missing = _missing_difference(one, other)
    if missing is not None:
        return missing
    assert one.temperature is not None and one.interval is not None
    assert other.temperature is not None and other.interval is not None
    _, low, high = independent_difference(one.temperature, other.temperature, one.interval, other.interval)
    return _estimator_difference(one, other, (low, high))


def _estimator_difference(a: EdgeEstimate, b: EdgeEstimate, interval: tuple[float, float]) -> EstimatorDifference:
    assert a.temperature is not None and b.temperature is not None
    value = b.temperature - a.temperature
    # The percentiles of skewed replicas may leave out the value itself.
    hull = (min(interval[0], value), max(interval[1], value))
    unsupported = [f"{side}: {one.reason}" for side, one in (("A", a), ("B", b)) if not one.supported]
    reason = f"at this length of text only; {'; '.join(unsupported)}" if unsupported else "found on both sides"
    return EstimatorDifference(a.name, a.temperature, b.temperature, value, hull, reason)


def _missing_difference(a: EdgeEstimate, b: EdgeEstimate) -> EstimatorDifference | None:
    """Return the difference without a value if a side has no temperature, or None."""
    missing = [f"{side}: {one.reason}" for side, one in (("A", a), ("B", b)) if one.temperature is None]
    if len(missing) == 2 and a.reason == b.reason:
        missing = [f"{a.reason} on both sides"]
    return _no_difference(a, b, "; ".join(missing)) if missing else None


def _no_difference(a: EdgeEstimate, b: EdgeEstimate, reason: str) -> EstimatorDifference:
    return EstimatorDifference(a.name, a.temperature, b.temperature, None, None, reason)
