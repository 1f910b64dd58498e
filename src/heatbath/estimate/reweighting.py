r"""Reweighting of sequences sampled at several temperatures to another one.

The distribution of every sampler is normalized, so the mixture of all samples has a known density and the multistate
estimator has no free energies to solve for: the balance heuristic (Veach & Guibas 1995; Shirts & Chodera 2008 with
f_k = 0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.estimate import Estimate

Floats = NDArray[np.float64]


def balance_weights(log_q_nk: Floats, counts_k: Floats, log_target_n: Floats) -> Floats:
    r"""Weights $w_n = q(x_n) / \sum_k \frac{M_k}{M} q_k(x_n)$ of pooled samples, mean one in expectation.

    Args:
        log_q_nk: log-probability of sample n under sampler k, (n, k), nats.
        counts_k: number of samples from each sampler, (k,).
        log_target_n: log-probability of sample n under the target, (n,) or (n, g).
    """
    from scipy.special import logsumexp

    log_mixture_n = logsumexp(log_q_nk, b=counts_k / counts_k.sum(), axis=1)
    target = np.asarray(log_target_n)
    return np.asarray(np.exp(target - log_mixture_n.reshape(-1, *[1] * (target.ndim - 1))))


def effective_size(weights_n: Floats) -> Floats:
    r"""Kish's effective sample size $(\sum w)^2 / \sum w^2$ over the first axis."""
    return np.asarray(weights_n.sum(0) ** 2 / np.maximum((weights_n**2).sum(0), np.finfo(float).tiny))


def weighted_mean(weights_n: Floats, values_n: Floats) -> Estimate:
    r"""Self-normalised mean $\sum w a / \sum w$, its standard error by the delta method, its effective size."""
    share = weights_n / weights_n.sum()
    mean = float(share @ values_n)
    return Estimate(mean, float(np.sqrt(share**2 @ (values_n - mean) ** 2)), float(effective_size(weights_n)))


def weighted_covariance(weights_n: Floats, a_n: Floats, b_n: Floats) -> Estimate:
    r"""Covariance of two observables under the weights, corrected for the effective size, with its standard error."""
    share = weights_n / weights_n.sum()
    size = float(effective_size(weights_n))
    product_n = (a_n - share @ a_n) * (b_n - share @ b_n)
    covariance = float(share @ product_n)
    stderr = float(np.sqrt(share**2 @ (product_n - covariance) ** 2))
    unbias = size / max(size - 1.0, np.finfo(float).tiny)
    return Estimate(covariance * unbias, stderr * unbias, size)


def temperature_response(weights_n: Floats, values_n: Floats, score_n: Floats, temperature: float) -> Estimate:
    r"""$d\langle A\rangle/dT = \mathrm{Cov}(A, Q)/T^2$ with $Q = \sum_t (E_t - U_t)$, exact for token samplers.

    The score of a sampler that normalizes at every token is $\partial_\beta \log q = -Q$ for any A; if A itself depends
    on the temperature, add the mean of its derivative.
    """
    covariance = weighted_covariance(weights_n, values_n, score_n)
    scale = temperature**-2
    return Estimate(covariance.value * scale, covariance.stderr * scale, covariance.ess)
