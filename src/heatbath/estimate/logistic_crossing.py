r"""Where a share crosses one half: a temperature read off noisy samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]


def half_crossing(x_n: Floats, hit_n: Floats, weight_n: Floats) -> tuple[float, float]:
    r"""The x where a logistic curve fitted to 0/1 outcomes (n,) is one half, and how far x goes per unit of log-odds.

    NaN unless the outcomes fall with x and pass one half inside the data.

    Newton steps with a weak prior on the slope, so that separated outcomes still give a finite answer.
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
