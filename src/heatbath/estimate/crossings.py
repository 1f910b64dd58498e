r"""Crossings of noisy curves: the x where a share passes one half, and where a decreasing quantity reaches zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit

Floats = NDArray[np.float64]


def half_crossing(x_n: Floats, hit_n: Floats, weight_n: Floats) -> tuple[float, float]:
    r"""Fit a logistic curve to 0/1 outcomes (n,); return the x where it is one half, and its width in x per log-odds.

    NaN unless the outcomes decrease with x and cross one half within the data. Fitted by Newton steps with a weak prior
    on the slope, so that separable outcomes still give a finite result.
    """
    total = weight_n.sum()
    share = weight_n @ hit_n / total
    if share <= 0 or share >= 1:
        return float("nan"), float("nan")
    center, spread = x_n.mean(), x_n.std()
    z = (x_n - center) / spread
    design = np.stack([np.ones_like(z), z], axis=1)
    theta = np.array([np.log(share / (1 - share)), 0.0])
    prior = np.diag([1e-6, 1e-2])
    for _ in range(50):
        p = expit(design @ theta)
        gradient = design.T @ (weight_n * (hit_n - p)) - prior @ theta
        hessian = (design * (weight_n * p * (1 - p))[:, None]).T @ design + prior
        step = np.linalg.solve(hessian, gradient)
        theta += step * min(1.0, 3.0 / (np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    if theta[1] >= 0 or not x_n.min() <= (x := center - spread * theta[0] / theta[1]) <= x_n.max():
        return float("nan"), float("nan")
    return float(x), float(-spread / theta[1])


def estimate_zero_crossing(x_k: Floats, y_k: Floats) -> float:
    """Estimate where a decreasing quantity reaches zero, from its last three points above a fifth of the maximum.

    A decreasing fit (isotonic regression) comes first, so that a single low point is not taken for the crossing.
    """
    order = np.argsort(x_k)
    x, y = x_k[order], isotonic_regression(y_k[order], increasing=False).x
    low = np.flatnonzero(y < 0.2 * max(float(y[0]), 1e-12))
    if len(low) == 0 or low[0] < 2:
        return float("nan")
    use = np.arange(max(0, low[0] - 3), low[0])
    slope, offset = np.polyfit(x[use], y[use], 1)
    return float(-offset / slope) if slope < 0 else float("nan")
