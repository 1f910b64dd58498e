r"""Ratios of partition functions from log-weights $\log w = \log \tilde p - \log \tilde q$, in nats.

From samples of q alone: the mean weight. From samples of both: Bennett's acceptance ratio, the minimum-variance
estimator from the same samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput, Unreliable
from heatbath.estimate.estimate import Estimate

Floats = NDArray[np.float64]


def log_mean(log_w: Floats) -> Estimate:
    r"""$\log E[w]$ from log-weights (n,): importance sampling, $\hat Z_p / Z_q$ with w drawn under q.

    The value is $\log \frac1n \sum w$. Its exponential is unbiased; by Jensen's inequality the value itself is low, by
    half its squared standard error. The standard error is that of the delta method,
    $\sqrt{\mathrm{Var}\, w / n} / \bar w$, NaN for one weight; the effective size is Kish's. If all weights are zero
    the value is `-inf` with an effective size of 0.

    Raises:
        BadInput: no weights, or one that is NaN or `+inf`.
    """
    log_w = _validate_log_weights(log_w, "log-weight", forbidden=np.inf)
    top = float(log_w.max())
    if top == -np.inf:
        return Estimate(-np.inf, float("nan"), 0.0)
    w = np.exp(log_w - top)
    n, mean = len(w), float(w.mean())
    stderr = float(w.std(ddof=1)) / (mean * np.sqrt(n)) if n > 1 else float("nan")
    return Estimate(top + float(np.log(mean)), float(stderr), float(w.sum() ** 2 / (w @ w)))


def combine_replicates(log_z_r: Floats) -> Estimate:
    r"""$\log Z$ from R independent runs with unbiased $\hat Z_r$: $\log \frac1R \sum_r \hat Z_r$, with its error.

    Averaging before the logarithm keeps $\hat Z$ unbiased; the mean of the logarithms is a lower bound in expectation.
    The standard error comes from the spread of the runs and is NaN for one run. A run whose particles all died has
    log Z = `-inf`.

    Args:
        log_z_r: (R,), nats.

    Raises:
        BadInput: no runs, or one that is NaN or `+inf`.
    """
    return log_mean(_validate_log_weights(log_z_r, "log_z of replicate", forbidden=np.inf))


def bar(forward_n: Floats, reverse_m: Floats) -> Estimate:
    r"""$\log Z_p / Z_q$ from log-weights $\log \tilde p - \log \tilde q$ at samples of q (n,) and at samples of p (m,).

    Solves $\sum_n f(M - \log w_n + L) = \sum_m f(-M + \log w_m - L)$ for L, with $f(x) = 1/(1 + e^x)$ and
    $M = \log n/m$. The variance is $\sum_{\text{sides}} (\overline{f^2} / \bar f^2 - 1) / n$, and the effective size
    Kish's for the f of the smaller side, so that samples without overlap have an effective size near 1.

    A weight of zero (`-inf`) may occur forward, an infinite one (`+inf`) in reverse. For the work W of a process and of
    its reverse, pass $-W$ forward and $+W$ in reverse.

    Source: Bennett 1976, J. Comput. Phys. 22, 245; for work, Crooks 1999, arXiv cond-mat/9901352.

    Raises:
        BadInput: an empty side, a NaN, or a weight that its side cannot have.
        Unreliable: no sample of one side is possible under the other, so that no L solves the equation.
    """
    forward = _validate_log_weights(forward_n, "forward log-weight", forbidden=np.inf)
    reverse = _validate_log_weights(reverse_m, "reverse log-weight", forbidden=-np.inf)
    if not (np.isfinite(forward).any() and np.isfinite(reverse).any()):
        estimate = Estimate(float("nan"), float("nan"), 0.0)
        raise Unreliable("no sample of one side is possible under the other: add intermediate distributions.", estimate)
    offset = np.log(len(forward) / len(reverse))
    log_ratio = _solve_bar_equation(forward - offset, reverse - offset)
    sides = [_fermi(offset - forward + log_ratio), _fermi(reverse - offset - log_ratio)]
    variance = sum((f @ f / f.sum() ** 2 - 1 / len(f)) for f in sides)
    return Estimate(log_ratio, float(np.sqrt(max(variance, 0.0))), float(min(f.sum() ** 2 / (f @ f) for f in sides)))


def _solve_bar_equation(forward: Floats, reverse: Floats) -> float:
    """Find the root of a continuous decreasing difference, bracketed by the extreme weights or beyond."""
    from scipy.optimize import brentq

    def excess(log_ratio: float) -> float:
        return float(_fermi(log_ratio - forward).sum() - _fermi(reverse - log_ratio).sum())

    finite = np.concatenate([forward[np.isfinite(forward)], reverse[np.isfinite(reverse)]])
    low, high, margin = float(finite.min()), float(finite.max()), 1.0
    while excess(low) < 0 or excess(high) > 0:
        low, high, margin = low - margin, high + margin, 2 * margin
    return float(brentq(excess, low, high, xtol=1e-13, rtol=1e-14))


def _fermi(x: Floats) -> Floats:
    """1 / (1 + e^x)."""
    from scipy.special import expit

    return np.asarray(expit(-x))


def _validate_log_weights(log_w: Floats, name: str, *, forbidden: float) -> Floats:
    values = np.asarray(log_w, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise BadInput(f"{name}s must have shape (n,) with n >= 1, one per sample, got {values.shape}.")
    bad = np.flatnonzero(np.isnan(values) | (values == forbidden))
    if len(bad):
        raise BadInput(
            f"{name} {bad[0]} is {values[bad[0]]}, which no sample can have: check the energy of that sample."
        )
    return values
