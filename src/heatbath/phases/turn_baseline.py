r"""The entropy turning point of TURN, a baseline to compare with (Du et al. 2025, arXiv 2502.05234).

It is the first temperature, on a grid of tenths, at which $d^2 \log H / dT^2 > 0$, with H(T) the mean token entropy of
complete texts. The second difference of a noisy curve is unstable, so the curve is smoothed first, and the interval
comes from a bootstrap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.finite_size import CONFIDENCE_LEVEL, EdgeEstimate
from heatbath.estimate.smooth import CurveData, LinearSmoother
from heatbath.phases.curves import (
    THERMAL_RATES,
    ObservableColumn,
    PooledSamples,
    build_smoother,
    compute_points,
    rate_column,
)
from heatbath.phases.prefix_sums import TextRange

Floats = NDArray[np.float64]

NAME = "entropy turning point"
STEP = 0.1
REPLICAS = 200
MIN_ESS = 5.0
"""Effective number of sequences below which a temperature is left out of the fit."""


def find_turning_point(pool: PooledSamples, rng: np.random.Generator) -> EdgeEstimate:
    """Locate where log H(T) turns from concave to convex, with a 95 % bootstrap interval over sequences.

    The temperature is None if log H does not turn inside the range. The interval is given, and the estimate is
    `supported`, if at least 95 % of the replicas turn.
    """
    grid = tenths_grid(float(pool.temperatures.min()), float(pool.temperatures.max()))
    measured = pool.ess() >= MIN_ESS
    if len(grid) < 3 or measured.sum() < 3:
        return _missing_turn(
            f"it needs at least 3 tenths and 3 measured temperatures, got {len(grid)} and {measured.sum()}"
        )
    samples = pool.samples
    column = rate_column(pool, THERMAL_RATES["entropy"], TextRange(-1, samples.find_prefix(samples.length)))
    smooth = build_smoother(_mask_points(_log_entropy_points(column, pool.temperatures), measured), pool, grid)
    draws = rng.exponential(size=(REPLICAS, len(samples)))
    replicas = np.array([find_turn(grid, curve) for curve in _smooth_log_entropies(smooth, column, draws)])
    (curve,) = _smooth_log_entropies(smooth, column, np.ones((1, len(samples))))
    return _summarize_turn(samples.length, find_turn(grid, curve), replicas)


def tenths_grid(low: float, high: float) -> Floats:
    """Return the multiples of 0.1 from `low` to `high`."""
    first, last = np.ceil(low / STEP - 1e-9), np.floor(high / STEP + 1e-9)
    return np.arange(first, last + 1) * STEP


def find_turn(temperature_g: Floats, log_entropy_g: Floats) -> float:
    """Return the first temperature with a positive second difference; NaN if there is none, or if it is the first."""
    curvature = np.gradient(np.gradient(log_entropy_g, temperature_g), temperature_g)
    # A straight line has a curvature of rounding errors only.
    convex = np.flatnonzero(curvature > 1e-9 * np.abs(log_entropy_g).max() / STEP**2)
    return float(temperature_g[convex[0]]) if len(convex) and convex[0] > 0 else float("nan")


def _log_entropy_points(column: ObservableColumn, temperatures: Floats) -> CurveData:
    """Return log H and its slope with standard errors; the logarithm keeps smoothed entropies positive."""
    points = compute_points(column, temperatures)
    entropy = np.maximum(points.value, np.finfo(float).tiny)
    relative = points.value_stderr / entropy
    slope = points.slope / entropy
    return CurveData(
        points.x, np.log(entropy), relative, slope, np.hypot(points.slope_stderr / entropy, slope * relative)
    )


def _mask_points(points: CurveData, is_measured: NDArray[np.bool_]) -> CurveData:
    value, slope = np.where(is_measured, points.value, np.nan), np.where(is_measured, points.slope, np.nan)
    return CurveData(points.x, value, points.value_stderr, slope, points.slope_stderr)


def _smooth_log_entropies(smooth: LinearSmoother, column: ObservableColumn, draws_rn: Floats) -> Floats:
    """Return smoothed log H on the grid for each replica, (r, g)."""
    value, slope = column.replica_moments(draws_rn)
    entropy = np.maximum(value, np.finfo(float).tiny)
    return smooth.apply(np.log(entropy), slope / entropy)[0]


def _summarize_turn(length: int, temperature: float, replicas: Floats) -> EdgeEstimate:
    if np.isnan(temperature):
        return _missing_turn("log H does not turn from concave to convex in this range")
    turns = np.isfinite(replicas)
    by_size = {length: temperature}
    if turns.mean() < CONFIDENCE_LEVEL:
        reason = f"not found in {1 - turns.mean():.0%} of resamples"
        return EdgeEstimate(NAME, temperature, None, by_size, False, reason)
    low, high = np.quantile(replicas[turns], [0.5 - CONFIDENCE_LEVEL / 2, 0.5 + CONFIDENCE_LEVEL / 2])
    reason = f"log H turns convex in {turns.mean():.0%} of resamples"
    return EdgeEstimate(NAME, temperature, (float(low), float(high)), by_size, True, reason)


def _missing_turn(reason: str) -> EdgeEstimate:
    return EdgeEstimate(NAME, None, None, {}, False, f"no turning point: {reason}")
