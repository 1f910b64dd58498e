"""Intervals of proportions, and means per token, from independent and from clustered observations."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, stdtrit

from heatbath.estimate.estimate import Estimate

Floats = npt.NDArray[np.float64]
LEVEL = 0.95


def error_interval(successes: Floats, trials: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the Clopper-Pearson interval of a share for each pair of counts; expected counts need not be integers."""
    tail, failures = (1 - level) / 2, np.maximum(trials - successes, 0.0)
    with np.errstate(invalid="ignore"):
        low = np.where(successes > 0, betaincinv(np.maximum(successes, 1e-300), failures + 1, tail), 0.0)
        high = np.where(failures > 0, betaincinv(successes + 1, np.maximum(failures, 1e-300), 1 - tail), 1.0)
    return low, high


def clustered_interval(successes: Floats, trials: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a share from counts by cluster, (c,), such as texts by document.

    Clopper-Pearson's with the effective number of trials, which the variance between clusters gives, and its degrees of
    freedom. With one cluster, or where the clusters do not differ, the trials count as independent.
    Source: Korn & Graubard 1998, Survey Methodology 24, 193.
    """
    total, clusters = float(trials.sum()), len(trials)
    share, effective = float(successes.sum()) / total, total
    variance = _ratio_variance(successes, trials)
    if variance > 0 and 0 < share < 1:
        tail = (1 - level) / 2
        shrink = float(stdtrit(total - 1, tail) / stdtrit(clusters - 1, tail)) if total > 1 else 1.0
        effective = min(total, share * (1 - share) / variance * shrink**2)
    low, high = error_interval(np.array([share * effective]), np.array([effective]), level)
    return float(low[0]), float(high[0])


def ratio_estimate(sums: Floats, counts: Floats) -> Estimate:
    """Return the mean per item from sums and counts of items by cluster, (c,); the clusters are independent.

    The standard error is infinite for one cluster; `ess` is the number of clusters.
    """
    variance = _ratio_variance(sums, counts) if len(counts) > 1 else math.inf
    return Estimate(float(sums.sum() / counts.sum()), math.sqrt(variance), float(len(counts)))


def mean_interval(mean: Estimate, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a mean over `ess` independent clusters by Student's t; infinite for one cluster."""
    if mean.ess < 2:
        return -math.inf, math.inf
    half = -float(stdtrit(mean.ess - 1, (1 - level) / 2)) * mean.stderr
    return mean.value - half, mean.value + half


def _ratio_variance(sums: Floats, counts: Floats) -> float:
    """Return the variance of sum / count over clusters, linearised; 0 for one cluster."""
    if len(counts) < 2:
        return 0.0
    residuals = sums - sums.sum() / counts.sum() * counts
    return float((residuals**2).sum() * len(counts) / (len(counts) - 1) / counts.sum() ** 2)
