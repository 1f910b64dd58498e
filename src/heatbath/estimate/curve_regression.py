r"""Curves through independent observations, for means and for shares, with 95 % bands.

The curve is a Gaussian process with a rational quadratic kernel, which has many length scales, as a curve with flat and
steep parts has. Length and height of the kernel are integrated over instead of chosen, so that the band includes what
is not known of them; a Bayesian band of this kind covers the true curve at the nominal rate, averaged over the curve
(Nychka 1988; Marra & Wood 2012).

* means: every observation has its own noise, whose variance is smoothed over x;
* shares: outcomes 0 and 1 have a binomial likelihood with a logit link (Laplace's approximation: Rasmussen & Williams
  2006, section 3.4), so that their band is narrow only where many outcomes were seen, whatever they were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp, ndtr, ndtri

Floats = NDArray[np.float64]

Z_95 = float(ndtri(0.975))

_KNOTS = np.linspace(0.0, 1.0, 40)
"""The process is represented by its values here, with a cubic spline between them."""
_LENGTHS = (0.06, 0.12, 0.24, 0.48, 0.96)
_HEIGHTS = (0.5, 1.0, 2.0, 4.0)
"""Lengths, as shares of the range, and heights of the kernel, in spreads of the data or in log-odds."""
_LINE_VARIANCE = 9.0
"""Prior variance of the level, and of the values at the ends of a straight line, on top of the kernel."""
_NEGLIGIBLE = 1e-3
"""Share of the largest weight below which a kernel is left out."""
_NEIGHBOURS = 40.0
"""Observations over which a variance is averaged."""
_ROUNDS = 3
"""Rounds of fitting the curve with the variances, and the variances from the deviations from it."""
_RARE = 1e-3
"""Share of the overall variance that remains where all neighbours agree."""
_SMALLEST_VARIANCE = 1e-5
"""Smallest variance, in units of the spread of the data: below it equations are close to singular."""
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


@dataclass(frozen=True)
class FittedCurve:
    """A curve on a grid, (g,) each: value with its 95 % band from `low` to `high`, slope with its standard error."""

    value: Floats
    low: Floats
    high: Floats
    slope: Floats
    slope_stderr: Floats


@dataclass(frozen=True)
class MeanData:
    """Independent observations `value` at `x`, (n,), whose weighted mean is the curve.

    `resolution` is the smallest deviation that an observation can have: where all agree, one of `_NEIGHBOURS` may still
    deviate by as much.
    """

    x: Floats
    value: Floats
    weight: Floats
    resolution: float = 0.0

    def select_counted(self) -> MeanData:
        """Return the observations with a weight above zero."""
        rows = self.weight > 0
        return replace(self, x=self.x[rows], value=self.value[rows], weight=self.weight[rows])


class CurveBasis:
    """The values at the knots as coefficients of a curve between `low` and `high`."""

    def __init__(self, low: float, high: float) -> None:
        from scipy.interpolate import CubicSpline

        self._low, self._span = low, (high - low) or 1.0
        self._spline = CubicSpline(_KNOTS, np.eye(len(_KNOTS)))

    def scale_places(self, x: Floats) -> Floats:
        """Map places to [0, 1]."""
        return np.asarray(((x - self._low) / self._span).clip(0.0, 1.0))

    def values(self, x: Floats) -> Floats:
        """Return the basis at x, (n, m)."""
        return np.asarray(self._spline(self.scale_places(x)))

    def slopes(self, x: Floats) -> Floats:
        """Return the derivative of the basis at x, (n, m)."""
        return np.asarray(self._spline(self.scale_places(x), 1)) / self._span


@lru_cache(maxsize=1)
def _prior_precisions() -> Floats:
    """Return the precision of the coefficients for each kernel, (l, m, m)."""
    distance = _KNOTS[:, None] - _KNOTS
    line = _LINE_VARIANCE * (1 + np.outer(2 * _KNOTS - 1, 2 * _KNOTS - 1))
    kernels = [
        height**2 * (1 / (1 + 0.5 * (distance / length) ** 2) + 1e-5 * np.eye(len(_KNOTS))) + line
        for length in _LENGTHS
        for height in _HEIGHTS
    ]
    return np.linalg.inv(np.array(kernels))


@dataclass(frozen=True)
class _Posterior:
    """Posterior of the coefficients for each kernel: weight (l,), mean (l, m), covariance (l, m, m)."""

    weight: Floats
    mean: Floats
    covariance: Floats

    def project(self, basis: Floats) -> tuple[Floats, Floats]:
        """Return mean and variance of `basis` @ coefficients for each kernel, (l, g) each."""
        return self.mean @ basis.T, np.maximum(((basis @ self.covariance) * basis).sum(2), 0.0)

    def mix(self, basis: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of `basis` @ coefficients over all kernels, (g,) each."""
        center = self.weight @ self.mean
        spread = self.mean - center
        covariance = np.tensordot(self.weight, self.covariance, 1) + (self.weight[:, None] * spread).T @ spread
        return basis @ center, np.sqrt(np.maximum(((basis @ covariance) * basis).sum(1), 0.0))


def _select_kernels(evidence: Floats, mean: Floats, covariance: Floats) -> _Posterior:
    """Return the posterior over the kernels whose marginal likelihood is not negligible."""
    weight = np.exp(evidence - logsumexp(evidence))
    kept = weight > _NEGLIGIBLE * weight.max()
    return _Posterior(weight[kept] / weight[kept].sum(), mean[kept], covariance[kept])


def fit_mean_curve(data: MeanData, grid: Floats) -> FittedCurve:
    """Fit a curve through independent observations, with a variance that changes with x.

    Args:
        data: the observations.
        grid: places of the result, (g,), between the smallest and the largest x.
    """
    counted = data.select_counted()
    center = float(np.average(counted.value, weights=counted.weight))
    spread = float(np.sqrt(np.average((counted.value - center) ** 2, weights=counted.weight)))
    if max(spread, data.resolution) <= 1e-9 * abs(center):
        # Every observation is the same, as the length of texts in characters is for a model of single letters.
        flat, zero = np.full(len(grid), center), np.zeros(len(grid))
        return FittedCurve(flat, flat, flat, zero, zero)
    scale = spread if spread > 1e-9 * abs(center) else data.resolution
    y = (counted.value - center) / scale
    basis = CurveBasis(float(data.x.min()), float(data.x.max()))
    design = basis.values(counted.x)
    noise = _LocalVariance(counted, (data.resolution / scale) ** 2 / _NEIGHBOURS)
    near = noise.kernel @ (counted.weight * y) / (noise.kernel @ counted.weight)
    variance = noise.smooth((y - near) ** 2)
    posterior = _solve_kernels(*_normal_equations(design, y, variance))
    for _ in range(_ROUNDS):
        fitted, error = posterior.mix(design)
        leverage = error**2 / variance
        variance = noise.smooth((y - fitted) ** 2 / np.maximum(1 - leverage, 0.5))
        posterior = _solve_kernels(*_normal_equations(design, y, variance))
    value, error = posterior.mix(basis.values(grid))
    slope, slope_error = posterior.mix(basis.slopes(grid))
    value, half_width = center + scale * value, Z_95 * scale * error
    return FittedCurve(value, value - half_width, value + half_width, scale * slope, scale * slope_error)


def _normal_equations(design: Floats, y: Floats, variance: Floats) -> tuple[Floats, Floats]:
    weighted = design / variance[:, None]
    return design.T @ weighted, weighted.T @ y


def _solve_kernels(precision: Floats, target: Floats) -> _Posterior:
    """Return the posterior for each kernel, weighted by its marginal likelihood."""
    prior = _prior_precisions()
    covariance = np.asarray(np.linalg.inv(prior + precision), np.float64)
    mean = covariance @ target
    evidence = np.asarray(0.5 * (np.linalg.slogdet(prior)[1] + np.linalg.slogdet(covariance)[1] + mean @ target))
    return _select_kernels(evidence, mean, covariance)


class _LocalVariance:
    """Variances of observations from the squared deviations of about `_NEIGHBOURS` of them around each."""

    def __init__(self, data: MeanData, floor: float) -> None:
        reach = min(round(_NEIGHBOURS), len(data.x) - 1)
        distance = np.abs(data.x[:, None] - data.x)
        width = np.partition(distance, reach, axis=1)[:, reach, None]
        width = np.maximum(1.5 * width, 1e-9 * max(float(np.ptp(data.x)), 1.0))
        weight = np.maximum(1 - (distance / width) ** 2, 0.0)
        self.kernel = weight / weight.sum(1, keepdims=True)
        self._weight, self._floor = data.weight, floor

    def smooth(self, square_n: Floats) -> Floats:
        """Return the variance of each observation, (n,), in inverse proportion to its weight.

        Where all neighbours agree, an observation as far off as the average one may still come.
        """
        local = self.kernel @ (self._weight**2 * square_n) / (self.kernel @ self._weight)
        overall = float(np.average(self._weight * square_n))
        floor = max(self._floor, _SMALLEST_VARIANCE)
        return np.asarray(np.maximum((local + _RARE * overall) / (1 + _RARE), floor) / self._weight)


def fit_share_curve(x_n: Floats, hit_n: Floats, grid: Floats) -> FittedCurve:
    """Fit the share of hits as a curve through independent outcomes 0 or 1, (n,), at x (n,).

    Where fewer than one and a half hits were seen nearby, the band reaches down to 0, and likewise up to 1.
    """
    x, index = np.unique(x_n, return_inverse=True)
    hits = np.asarray(np.bincount(index, hit_n), np.float64)
    total = np.asarray(np.bincount(index), np.float64)
    basis = CurveBasis(float(x.min()), float(x.max()))
    posterior = _fit_logits(basis.values(x), hits, total)
    logit, variance = posterior.project(basis.values(grid))
    low, value, high = (
        expit(_mixture_quantile(q, posterior.weight, logit, np.sqrt(variance))) for q in (0.025, 0.5, 0.975)
    )
    near = _count_neighbours(grid, x, hits), _count_neighbours(grid, x, total - hits)
    low = low * (near[0] - 0.5).clip(0, 1)
    high = 1 - (1 - high) * (near[1] - 0.5).clip(0, 1)
    slope, slope_stderr = _share_slope(posterior, basis, grid)
    return FittedCurve(value, np.minimum(low, value), np.maximum(high, value), slope, slope_stderr)


def _fit_logits(design: Floats, hits: Floats, total: Floats) -> _Posterior:
    """Return Laplace's approximation to the posterior of the coefficients of the log-odds for each kernel."""
    prior = _prior_precisions()
    mean = np.full((len(prior), design.shape[1]), np.log((hits.sum() + 0.5) / (total.sum() - hits.sum() + 0.5)))
    for _ in range(60):
        p = expit(mean @ design.T)
        precision = prior + (design.T * (total * p * (1 - p))[:, None, :]) @ design
        gradient = (hits - total * p) @ design - (prior @ mean[..., None])[..., 0]
        step = np.linalg.solve(precision, gradient[..., None])[..., 0]
        mean = mean + step * np.minimum(1.0, 2.0 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-12))
        if np.abs(step).max() < 1e-4:
            break
    logit = mean @ design.T
    likelihood = logit @ hits - np.logaddexp(0, logit) @ total
    penalty = (mean * (prior @ mean[..., None])[..., 0]).sum(1)
    evidence = likelihood - 0.5 * penalty + 0.5 * (np.linalg.slogdet(prior)[1] - np.linalg.slogdet(precision)[1])
    covariance = np.asarray(np.linalg.inv(precision), np.float64)
    return _select_kernels(evidence, mean, covariance)


def _mixture_quantile(q: float, weight_l: Floats, mean_lg: Floats, deviation_lg: Floats) -> Floats:
    """Return a quantile of a mixture of normal distributions, (g,), by bisection."""
    low, high = (mean_lg + side * 6 * deviation_lg for side in (-1, 1))
    low, high = low.min(0), high.max(0)
    for _ in range(50):
        middle = 0.5 * (low + high)
        below = weight_l @ ndtr((middle - mean_lg) / deviation_lg) < q
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(high)


def _count_neighbours(grid: Floats, x: Floats, count: Floats) -> Floats:
    """Return the number of outcomes in the neighbourhood of each place that holds `_NEIGHBOURS` of those seen there."""
    width = float(np.ptp(x)) * 0.06
    return np.asarray(np.exp(-0.5 * ((grid[:, None] - x) / width) ** 2) @ count)


def _share_slope(posterior: _Posterior, basis: CurveBasis, grid: Floats) -> tuple[Floats, Floats]:
    """Return the slope of the share with its standard error, (g,) each: p (1 - p) times that of the log-odds."""
    values, slopes = basis.values(grid), basis.slopes(grid)
    logit, variance = posterior.project(values)
    rise, rise_variance = posterior.project(slopes)
    shared = np.einsum("gm,lmk,gk->lg", values, posterior.covariance, slopes, optimize=True)
    deviation = np.sqrt(np.maximum(variance, 1e-300))
    p = expit(logit[..., None] + deviation[..., None] * _NODES)
    local = p * (1 - p)
    given = rise[..., None] + (shared / deviation)[..., None] * _NODES
    rest = np.maximum(rise_variance - (shared / deviation) ** 2, 0.0)[..., None]
    first = posterior.weight @ ((local * given) @ _NODE_WEIGHTS)
    second = posterior.weight @ ((local**2 * (given**2 + rest)) @ _NODE_WEIGHTS)
    return first, np.sqrt(np.maximum(second - first**2, 0.0))
