r"""Differences between two sets of samples, B − A: paired, or of two independent estimates, with 95 % intervals.

Pairs share a prompt and random numbers, so that much of their noise cancels in the difference. A mean of paired
differences has the t interval over independent units: unlike the percentiles of a bootstrap, which are too narrow for
a few dozen pairs, it keeps its coverage. A share, whose pairs may all agree by luck, has the interval of Bonett and
Price 2012, which adds one pair of each unequal kind. Edges, which are no means, are compared by a bootstrap that gives
both sides of a pair the same weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtri, stdtr, stdtrit

from heatbath.errors import BadInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFIDENCE_LEVEL = 0.95
_Z = float(ndtri(0.5 + CONFIDENCE_LEVEL / 2))


@dataclass(frozen=True)
class Difference:
    """A difference B − A: `value`, the bounds `low` and `high` of its 95 % interval, and the p-value of "none".

    `units` is the number of independent differences it rests on.
    """

    value: float
    low: float
    high: float
    p_value: float
    units: int


def estimate_mean_difference(difference_u: Floats) -> Difference:
    """Return the mean of independent differences (u,) with its t interval.

    Raises:
        BadInput: fewer than two differences.
    """
    units = len(difference_u)
    if units < 2:
        raise BadInput(f"an interval needs at least two independent pairs, got {units}: draw more.")
    return _student_difference(float(difference_u.mean()), float(difference_u.std(ddof=1) / np.sqrt(units)), units)


def estimate_share_difference(a_n: Floats, b_n: Floats) -> Difference:
    """Return the difference of two shares from paired outcomes of 0 or 1, (n,) each.

    Source: Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37(4).

    Raises:
        BadInput: fewer than two pairs.
    """
    n = len(a_n)
    if n < 2:
        raise BadInput(f"an interval needs at least two independent pairs, got {n}: draw more.")
    gained, lost = (float((np.sign(b_n - a_n) == sign).sum()) for sign in (1, -1))
    p_gained, p_lost = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    center = p_gained - p_lost
    half = _Z * np.sqrt((p_gained + p_lost - center**2) / (n + 2))
    # Given how many pairs differ, as many go one way as the other if there is no difference (the exact McNemar test).
    p_value = min(1.0, 2 * float(bdtr(min(gained, lost), int(gained + lost), 0.5)))
    value = (gained - lost) / n
    return Difference(value, min(value, max(-1.0, center - half)), max(value, min(1.0, center + half)), p_value, n)


def estimate_weighted_difference(a: tuple[Floats, Floats], b: tuple[Floats, Floats], unit_n: Ints) -> Difference:
    """Return the difference of two weighted means from paired values.

    A side is (values, weights), (n,) each. The interval is that of the influence of each unit on the difference, which
    for equal weights is the t interval of the mean paired difference.

    Raises:
        BadInput: fewer than two units.
    """
    (mean_a, influence_a), (mean_b, influence_b) = (_weighted_influence(*side, unit_n) for side in (a, b))
    units = len(influence_a)
    if units < 2:
        raise BadInput(f"an interval needs at least two independent pairs, got {units}: draw more.")
    stderr = float((influence_b - influence_a).std(ddof=1) / np.sqrt(units))
    return _student_difference(mean_b - mean_a, stderr, units)


def weighted_mean_error(values_n: Floats, weights_n: Floats, unit_n: Ints) -> tuple[float, float]:
    """Return a weighted mean with its standard error over independent units."""
    mean, influence = _weighted_influence(values_n, weights_n, unit_n)
    return mean, float(influence.std(ddof=1) / np.sqrt(len(influence)))


def _weighted_influence(values_n: Floats, weights_n: Floats, unit_n: Ints) -> tuple[float, Floats]:
    """Return the weighted mean, and the number of units times the change of it that each unit causes, (u,)."""
    _, index = np.unique(unit_n, return_inverse=True)
    weight_u, total_u = np.bincount(index, weights_n), np.bincount(index, weights_n * values_n)
    mean = float(total_u.sum() / weight_u.sum())
    return mean, np.asarray((total_u - mean * weight_u) / weight_u.mean())


def estimate_ratio(totals_u: Floats, sizes_u: Floats) -> Difference:
    """Return the mean per token of texts (u,) with sums `totals_u` over `sizes_u` tokens; texts are independent.

    Raises:
        BadInput: fewer than two texts.
    """
    units = len(totals_u)
    if units < 2:
        raise BadInput(f"an interval needs at least two texts, got {units}: give more.")
    value = float(totals_u.sum() / sizes_u.sum())
    residual = totals_u - value * sizes_u
    stderr = float(np.sqrt(units / (units - 1) * (residual**2).sum()) / sizes_u.sum())
    return _student_difference(value, stderr, units)


def _student_difference(value: float, stderr: float, units: int) -> Difference:
    if stderr <= 4 * np.finfo(float).eps * abs(value):
        # All differences are equal, and a t value would be rounding error.
        return Difference(value, value, value, float(value == 0), units)
    half = float(stdtrit(units - 1, 0.5 + CONFIDENCE_LEVEL / 2)) * stderr
    p_value = 2 * float(stdtr(units - 1, -abs(value) / stderr))
    return Difference(value, value - half, value + half, p_value, units)


def independent_difference(
    a: float, b: float, a_interval: tuple[float, float], b_interval: tuple[float, float]
) -> tuple[float, float, float]:
    """Return b − a and its interval from two independent estimates with their intervals.

    Each bound combines the two nearer half-widths as a root of squares (MOVER, Zou and Donner 2008), so that
    asymmetric intervals stay asymmetric.
    """
    low = b - a - np.hypot(b - b_interval[0], a_interval[1] - a)
    high = b - a + np.hypot(b_interval[1] - b, a - a_interval[0])
    return b - a, float(low), float(high)


def combine_p_values(p_k: Floats) -> float:
    """Return the p-value of "no difference in any of k" from the smallest of their p-values (Šidák).

    Exact for independent differences, and conservative for positively dependent ones.
    """
    smallest = float(np.min(p_k))
    return float(-np.expm1(len(p_k) * np.log1p(-smallest))) if smallest < 1 else 1.0


def draw_unit_weights(unit_n: Ints, replicas: int, rng: np.random.Generator) -> Floats:
    """Draw how often each row counts in bootstrap replicas, (r, n): exponential, equal within a unit."""
    _, index = np.unique(unit_n, return_inverse=True)
    return np.asarray(rng.exponential(size=(replicas, int(index.max()) + 1))[:, index])


def replica_interval(replicas_r: Floats) -> tuple[float, float]:
    """Return the central 95 % of bootstrap replicas."""
    low, high = np.quantile(replicas_r, [0.5 - CONFIDENCE_LEVEL / 2, 0.5 + CONFIDENCE_LEVEL / 2])
    return float(low), float(high)
