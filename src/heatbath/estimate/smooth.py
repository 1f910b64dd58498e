r"""A smooth curve through values and slopes, with error bands: a Gaussian process on y(x) and y'(x) together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from heatbath.errors import BadInput
from heatbath.short_repr import short_repr

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class CurveData:
    """Measurements at x (m,): values and slopes with standard errors, (m,) each; NaN entries are ignored."""

    x: Floats
    value: Floats
    value_stderr: Floats
    slope: Floats
    slope_stderr: Floats

    __repr__ = short_repr


@dataclass(frozen=True)
class LinearSmoother:
    """A linear smoother: `weights` (2 g, 2 m) maps measured (values, slopes) to curve and slope on the grid `x` (g,).

    Since it is linear, a bootstrap replicate of the data costs one matrix product. `center` and `scale` are constants
    of the fit that make values dimensionless; `covariance` (2 g, 2 g) is that of the posterior.
    """

    x: Floats
    weights: Floats
    kept_mask: NDArray[np.bool_]
    covariance: Floats
    center: float
    scale: float

    def apply(self, value: Floats, slope: Floats) -> tuple[Floats, Floats]:
        """Compute curve and slope on the grid, (…, g) each, for data at the points of the fit, (…, m) each."""
        data = np.concatenate([(value - self.center) / self.scale, slope / self.scale], axis=-1)[..., self.kept_mask]
        curve = data @ self.weights.T * self.scale
        g = len(self.x)
        return curve[..., :g] + self.center, curve[..., g:]

    @property
    def stderr(self) -> tuple[Floats, Floats]:
        """Standard errors of curve and slope on the grid, (g,) each."""
        deviation = np.sqrt(np.maximum(np.diag(self.covariance), 0.0)) * self.scale
        return deviation[: len(self.x)], deviation[len(self.x) :]


def fit_smoother(points: CurveData, grid: Floats) -> LinearSmoother:
    r"""Fit a Gaussian process with a rational quadratic kernel; length and height maximize the marginal likelihood.

    Values and slopes have their own noise (Solak et al. 2003: the derivative of a Gaussian process is one too).

    Raises:
        BadInput: fewer than three usable values.
    """
    data = np.concatenate([points.value, points.slope])
    noise = np.concatenate([points.value_stderr, points.slope_stderr])
    usable = np.isfinite(data) & np.isfinite(noise)
    count = int(usable[: len(points.x)].sum())
    if count < 3:
        raise BadInput(f"a curve needs measurements at three temperatures, got {count}: add some.")
    values = points.value[usable[: len(points.x)]]
    center = float(values.mean())
    scale = float(values.std()) or 1.0
    offset = np.concatenate([np.full(len(points.x), center), np.zeros(len(points.x))])
    y = ((data - offset) / scale)[usable]
    # A zero standard error (all samples equal) would force the curve through that point.
    variance = np.maximum(noise[usable] / scale, 1e-3) ** 2
    length, height = _fit_hyperparameters(points.x, usable, y, variance)
    gram = _kernel(points.x, points.x, length, height)[np.ix_(usable, usable)] + np.diag(variance)
    factor = cho_factor(gram, lower=True)
    cross = _kernel(grid, points.x, length, height)[:, usable]
    covariance = _kernel(grid, grid, length, height) - cross @ cho_solve(factor, cross.T)
    return LinearSmoother(grid, cho_solve(factor, cross.T).T, usable, covariance, center, scale)


def _fit_hyperparameters(x: Floats, usable: NDArray[np.bool_], y: Floats, variance: Floats) -> tuple[float, float]:
    span = float(np.ptp(x)) or 1.0
    spacing = float(np.median(np.diff(np.sort(x)))) or span

    kept, noise = np.ix_(usable, usable), np.diag(variance)

    def loss(log_parameters: Floats) -> tuple[float, Floats]:
        length, height = np.exp(log_parameters)
        kernel = _kernel(x, x, length, height)[kept]
        try:
            factor = cho_factor(kernel + noise, lower=True)
        except np.linalg.LinAlgError:
            return 1e12, np.zeros(2)
        inverse = cho_solve(factor, np.eye(len(y)))
        solved = inverse @ y
        sensitivity = 0.5 * (inverse - np.outer(solved, solved))
        stretched = _kernel_by_log_length(x, length, height)[kept]
        slope = np.array([(sensitivity * stretched).sum(), 2 * (sensitivity * kernel).sum()])
        return float(0.5 * y @ solved + np.log(np.diag(factor[0])).sum()), slope

    # With a length below the spacing of the points the curve would be unconstrained between them.
    bounds = [(np.log(min(1.5 * spacing, span)), np.log(2 * span)), (np.log(0.1), np.log(10.0))]
    starts = [np.array([np.log(fraction * span).clip(*bounds[0]), 0.0]) for fraction in (0.1, 0.3, 1.0)]
    fits = [minimize(loss, start, bounds=bounds, method="L-BFGS-B", jac=True) for start in starts]
    best = min(fits, key=lambda r: float(r.fun))
    length, height = np.exp(best.x)
    return float(length), float(height)


def _kernel(a: Floats, b: Floats, length: float, height: float) -> Floats:
    r"""Covariance of (values, slopes) at a with (values, slopes) at b, (2 a, 2 b): $h^2 / (1 + d^2 / 2 l^2)$.

    A curve with flat and steep parts has several length scales: with a squared exponential kernel, which has one, the
    bands of the slope are too narrow in the steep part.
    """
    d = (a[:, None] - b[None, :]) / length
    shape = 1 / (1 + 0.5 * d**2)
    value, cross = height**2 * shape, height**2 * d * shape**2 / length
    return np.block([[value, cross], [-cross, height**2 * (shape**2 - 2 * d**2 * shape**3) / length**2]])


def _kernel_by_log_length(x: Floats, length: float, height: float) -> Floats:
    """Derivative of `_kernel` between points x by the logarithm of its length, (2 m, 2 m)."""
    d = (x[:, None] - x[None, :]) / length
    square = d**2
    shape = 1 / (1 + 0.5 * square)
    stretch = square * shape
    cross = 2 * height**2 * d * shape**2 / length * (stretch - 1)
    bend = 6 * stretch * shape**2 * (1 - stretch) - 2 * shape**2 * (1 - 2 * stretch)
    return np.block([[height**2 * stretch * shape, cross], [-cross, height**2 * bend / length**2]])
