r"""Crossings of noisy curves: the x where a share passes one half, and where a decreasing quantity reaches zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit

Floats = NDArray[np.float64]

_SLOPE_PRIOR = np.array([1e-6, 1e-2])
"""Prior precision of offset and slope of the log-odds, in spreads of x."""


def half_crossing(x_n: Floats, hit_n: Floats, weight_n: Floats) -> tuple[float, float]:
    r"""Fit a logistic curve to 0/1 outcomes (n,); return the x where it is one half, and its width in x per log-odds.

    NaN unless the outcomes decrease with x and cross one half within the data. Fitted by Newton steps with a weak prior
    on the slope, so that separable outcomes still give a finite result.
    """
    place, width = half_crossings(x_n, hit_n, weight_n[None])
    return float(place[0]), float(width[0])


def half_crossings(x_n: Floats, hit_n: Floats, weights_rn: Floats) -> tuple[Floats, Floats]:
    """Return `half_crossing` for many weights of the same outcomes, such as resamples: places and widths, (r,) each."""
    total = weights_rn.sum(1)
    share = weights_rn @ hit_n / total
    one_kind = (share <= 0) | (share >= 1)
    center, spread = x_n.mean(), x_n.std() or 1.0
    design = np.stack([np.ones_like(x_n), (x_n - center) / spread])
    inner = np.clip(share, 1e-12, 1 - 1e-12)
    theta = np.stack([np.log(inner / (1 - inner)), np.zeros_like(share)], axis=1)
    for _ in range(50):
        step = _newton_step(theta, design, hit_n, weights_rn)
        largest = np.abs(step).max(1, keepdims=True)
        theta = theta + step * np.minimum(1.0, 3.0 / (largest + 1e-12))
        if largest[~one_kind].max(initial=0.0) < 1e-8:
            break
    falls = (theta[:, 1] < 0) & ~one_kind
    slope = np.where(falls, theta[:, 1], -1.0)
    place, width = center - spread * theta[:, 0] / slope, -spread / slope
    found = falls & (place >= x_n.min()) & (place <= x_n.max())
    return np.where(found, place, np.nan), np.where(found, width, np.nan)


def _newton_step(theta_rp: Floats, design_pn: Floats, hit_n: Floats, weights_rn: Floats) -> Floats:
    """Return the Newton step of the penalized log-likelihood for each row of weights, (r, 2)."""
    p = expit(theta_rp @ design_pn)
    gradient = (weights_rn * (hit_n - p)) @ design_pn.T - theta_rp * _SLOPE_PRIOR
    z = design_pn[1]
    curvature = weights_rn * p * (1 - p)
    a, b, d = curvature.sum(1) + _SLOPE_PRIOR[0], curvature @ z, curvature @ z**2 + _SLOPE_PRIOR[1]
    determinant = a * d - b * b
    first, second = gradient[:, 0], gradient[:, 1]
    return np.stack([(d * first - b * second) / determinant, (a * second - b * first) / determinant], axis=1)


def estimate_zero_crossing(x_k: Floats, y_k: Floats) -> float:
    """Estimate where a decreasing quantity reaches zero, from its last three points above a fifth of the maximum.

    A decreasing fit (isotonic regression) comes first, so that a single low point is not taken for the crossing.
    NaN where the line through them reaches zero outside the range of `x_k`: a flat one does so anywhere.
    """
    order = np.argsort(x_k)
    x, y = x_k[order], isotonic_regression(y_k[order], increasing=False).x
    low = np.flatnonzero(y < 0.2 * max(float(y[0]), 1e-12))
    if len(low) == 0 or low[0] < 2:
        return float("nan")
    use = np.arange(max(0, low[0] - 3), low[0])
    slope, offset = np.polyfit(x[use], y[use], 1)
    crossing = float(-offset / slope) if slope < 0 else float("nan")
    return crossing if x[0] <= crossing <= x[-1] else float("nan")
