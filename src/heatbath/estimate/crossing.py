r"""Where a share crosses one half: a temperature read off noisy samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]


def half_crossing(x_n: Floats, hit_n: Floats, weight_n: Floats) -> float:
    r"""The x at which a logistic curve fitted to 0/1 outcomes is one half; NaN unless outcomes fall with x inside the data.

    Newton steps with a weak prior on the slope, so that separated outcomes still give a finite answer.
    """
    total = weight_n.sum()
    share = weight_n @ hit_n / total
    if share <= 0 or share >= 1:
        return float("nan")
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
    x = center - spread * theta[0] / theta[1] if theta[1] < 0 else np.nan
    return float(x) if x_n.min() <= x <= x_n.max() else float("nan")

