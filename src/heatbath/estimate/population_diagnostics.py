"""Diagnostics of weighted populations, comparable with those of Markov chains."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.resample import normalize_log_weights

Floats = NDArray[np.float64]


def independence_acceptance(log_weights: Floats) -> float:
    r"""Acceptance of a Metropolis chain that proposes members of the population: $E_{i \sim W, j}\min(1, w_j/w_i)$.

    One for equal weights; about 1/N if one of N has all the weight. `log_weights` (N,), nats.

    Source: Hastings 1970, for proposals independent of the current state.
    """
    share = normalize_log_weights(log_weights)
    alive = share > 0
    ratio = np.minimum(share[None, :] / share[alive][:, None], 1.0)
    return float(share[alive] @ ratio.mean(1))


def weighted_r_hat(values_rn: Floats, log_weights_rn: Floats) -> float:
    r"""$\sqrt{(W (n-1)/n + B) / W}$ of R populations of n, (R, n): W their weighted variance, B that of their means.

    Effective sizes are used for n. Near one if the populations agree; NaN for fewer than two.
    """
    if len(values_rn) < 2:
        return float("nan")
    share = np.stack([normalize_log_weights(row) for row in log_weights_rn])
    size = 1 / (share**2).sum(1)
    mean = (share * values_rn).sum(1)
    variance = (share * (values_rn - mean[:, None]) ** 2).sum(1)
    within, between = float(variance.mean()), float(mean.var(ddof=1))
    if within == 0:
        return float("inf") if between > 0 else float("nan")
    n = float(size.mean())
    return float(np.sqrt((within * (n - 1) / n + between) / within)) if n > 1 else float("nan")
