r"""Diagnostics of parallel Markov chains: mixing, autocorrelation, effective sample size, acceptance.

x_cn (c, n) holds one number for each of n steps of c chains, without warm-up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heatbath.errors import BadInput, Unreliable
from heatbath.estimate.estimate import Estimate

Floats = NDArray[np.float64]

MIN_STEPS = 4
"""Minimal number of steps per chain: half a chain must still have a variance."""

MAX_R_HAT = 1.1
"""Largest split R-hat at which a mean is given: each half of a chain then has about five autocorrelation times."""

_MAX_GROUPS = 32

SOKAL_WINDOW = 5.0
"""Sokal's window: correlations are summed up to this many autocorrelation times."""


def r_hat(x_cn: ArrayLike, *, use_ranks: bool = True) -> float:
    r"""Split $\hat R = \sqrt{\widehat{\mathrm{var}}^+ / W}$: near one if the chains agree.

    Each chain is split in half, which also detects drift. With `use_ranks` the larger of two values is returned: of the
    normal scores, which detect shifts under heavy tails, and of the folded scores, which detect different spreads.
    Above 1.01 the chains have not mixed. Chains that are constant at different values give inf; NaN if nothing moves.

    Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner 2021, arXiv 1903.08008.

    Raises:
        BadInput: fewer than four steps, or a number that is not finite.
    """
    halves = _split_chains(_validate_chains(x_cn))
    if not use_ranks:
        return _variance_ratio(halves)
    folded = np.abs(halves - np.median(halves))
    return float(np.maximum(_variance_ratio(_normal_scores(halves)), _variance_ratio(_normal_scores(folded))))


def mixing_diagnostics(x_cn: ArrayLike) -> tuple[float, float]:
    """Compute `r_hat` and `effective_steps` of chains, both NaN if the chains are too short.

    Raises:
        BadInput: a number that is not finite.
    """
    if np.shape(x_cn)[1] < MIN_STEPS:
        return float("nan"), float("nan")
    return r_hat(x_cn), effective_steps(x_cn)


def autocorrelation(x_cn: ArrayLike) -> Floats:
    r"""$\hat\rho_t = 1 - (W - \overline{s^2_c \rho_{t,c}}) / \widehat{\mathrm{var}}^+$ at lags 0 … n - 1, (n,).

    Differences between chains count as correlation that never decays. NaN if nothing moves.

    Raises:
        BadInput: fewer than four steps, or a number that is not finite.
    """
    x = _validate_chains(x_cn)
    within, total = _compute_variances(x)
    n = x.shape[1]
    deviation = x - x.mean(1, keepdims=True)
    # Padded to twice the length, so that the transform does not wrap around.
    power = np.abs(np.fft.rfft(deviation, 2 * n, axis=1)) ** 2
    covariance = np.fft.irfft(power, axis=1)[:, :n].mean(0) / n
    if total == 0:
        return np.full(n, np.nan)
    return np.asarray(1 - (within - covariance * n / (n - 1)) / total)


def autocorrelation_time(x_cn: ArrayLike, *, method: str = "geyer") -> float:
    r"""Integrated autocorrelation time $\tau = 1 + 2 \sum_{t \ge 1} \rho_t$, in steps; one for independent draws.

    "geyer" sums pairs of neighbours while these are positive, each limited to the one before; "sokal" sums up to the
    first lag that is `SOKAL_WINDOW` times the sum. For constant chains it is n, one draw per chain. Alternating chains
    have less than one, limited to $1/\log_{10}(cn)$, below which noise dominates.

    Source: Geyer 1992, Statist. Sci. 7, 473, section 3.3; Sokal 1997, Monte Carlo methods in statistical mechanics.

    Raises:
        BadInput: an unknown method, fewer than four steps, or a number that is not finite.
    """
    sums = {"geyer": _geyer_time, "sokal": _sokal_time}
    if method not in sums:
        raise BadInput(f"unknown autocorrelation method {method!r}: use geyer or sokal.")
    x = _validate_chains(x_cn)
    rho = autocorrelation(x)
    if np.isnan(rho).any():
        return float(x.shape[1])
    return max(sums[method](rho), 1 / float(np.log10(x.size)))


def effective_steps(x_cn: ArrayLike, *, method: str = "geyer") -> float:
    r"""Effective number of independent draws for a mean, $c n / \tau$."""
    x = _validate_chains(x_cn)
    return x.size / autocorrelation_time(x, method=method)


def estimate_mean(x_cn: ArrayLike, *, method: str = "geyer", max_r_hat: float = MAX_R_HAT) -> Estimate:
    r"""Mean over chains and steps with the standard error $\sqrt{\widehat{\mathrm{var}}^+ \tau / cn}$.

    If nothing moves the standard error is NaN and the effective size that of one draw per chain.

    Raises:
        BadInput: fewer than four steps, or a number that is not finite.
        Unreliable: `r_hat` is above `max_r_hat`, so that the error says nothing of what the chains have not visited.
    """
    x = _validate_chains(x_cn)
    size = effective_steps(x, method=method)
    _, total = _compute_variances(x)
    estimate = Estimate(float(x.mean()), float(np.sqrt(total / size)) if total > 0 else float("nan"), size)
    if max_r_hat < np.inf and (ratio := r_hat(x)) > max_r_hat:
        raise Unreliable(
            f"{estimate} is the mean of chains that have not mixed, r_hat is {ratio:.2f}, above {max_r_hat:g}: "
            "run more steps, or read `.estimate`.",
            estimate,
        )
    return estimate


def jackknife(estimate: Callable[[Floats], float], samples: Floats) -> float:
    r"""Jackknife standard error of an estimate, leaving out one group of chains, the last axis, at a time.

    Valid with correlated steps within a chain; NaN for fewer than two chains. Up to 32 chains are a group each; more
    chains share 32 groups, to bound the cost.

    Source: Efron 1982, The jackknife, the bootstrap and other resampling plans, chapter 3.
    """
    count = samples.shape[-1]
    if count < 2:
        return float("nan")
    groups = np.array_split(np.arange(count), min(count, _MAX_GROUPS))
    values = [estimate(np.delete(samples, group, axis=-1)) for group in groups]
    return float(np.sqrt((len(groups) - 1) * np.var(values)))


@dataclass(frozen=True)
class AcceptanceSummary:
    """Acceptance rate over all chains, in the worst and best chain, and the longest run of rejections."""

    rate: Estimate
    min_rate: float
    max_rate: float
    longest_rejection_run: int


def summarize_acceptance(accepted_cn: ArrayLike) -> AcceptanceSummary:
    """Summarize which proposals (c, n) were accepted.

    Raises:
        BadInput: fewer than four steps.
    """
    accepted = _validate_chains(accepted_cn)
    by_chain = accepted.mean(1)
    longest = max(_longest_zero_run(row) for row in accepted)
    return AcceptanceSummary(
        estimate_mean(accepted, max_r_hat=np.inf), float(by_chain.min()), float(by_chain.max()), longest
    )


def _longest_zero_run(row: Floats) -> int:
    ends = np.flatnonzero(np.concatenate([[1.0], row, [1.0]]))
    return int(np.diff(ends).max()) - 1


def _geyer_time(rho: Floats) -> float:
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(1)
    negative = np.flatnonzero(pairs < 0)
    positive = pairs[: negative[0]] if len(negative) else pairs
    return float(2 * np.minimum.accumulate(positive).sum() - 1) if len(positive) else 0.0


def _sokal_time(rho: Floats) -> float:
    tau = 2 * np.cumsum(rho) - 1
    wide = np.flatnonzero(np.arange(len(rho)) >= SOKAL_WINDOW * tau)
    return float(tau[wide[0]] if len(wide) else tau[-1])


def _compute_variances(x: Floats) -> tuple[float, float]:
    r"""Return the mean variance within chains W, and $\widehat{\mathrm{var}}^+ = \frac{n-1}{n} W + B/n$."""
    if np.ptp(x) == 0:
        return 0.0, 0.0
    n = x.shape[1]
    # Rounding of the mean must not give a constant chain a variance.
    within = float(np.where(np.ptp(x, axis=1) == 0, 0.0, x.var(axis=1, ddof=1)).mean())
    between = float(x.mean(1).var(ddof=1)) if len(x) > 1 else 0.0
    return within, within * (n - 1) / n + between


def _variance_ratio(x: Floats) -> float:
    within, total = _compute_variances(x)
    if within == 0:
        return float("inf") if total > 0 else float("nan")
    return float(np.sqrt(total / within))


def _split_chains(x: Floats) -> Floats:
    half = x.shape[1] // 2
    return np.concatenate([x[:, :half], x[:, -half:]])


def _normal_scores(x: Floats) -> Floats:
    r"""Return $\Phi^{-1}((r - 3/8) / (S + 1/4))$ of the ranks r among all S numbers; ties have their mean rank."""
    from scipy.special import ndtri

    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]
    return np.asarray(ndtri((rank - 0.375) / (x.size + 0.25)).reshape(x.shape))


def _validate_chains(x_cn: ArrayLike) -> Floats:
    x = np.asarray(x_cn, dtype=np.float64)
    if x.ndim != 2 or len(x) == 0 or x.shape[1] < MIN_STEPS:
        raise BadInput(f"chains must have shape (chains, steps) with {MIN_STEPS} steps or more, got {x.shape}.")
    if not np.isfinite(x).all():
        chain, step = np.argwhere(~np.isfinite(x))[0]
        raise BadInput(f"chains must be finite: step {step} of chain {chain} is {x[chain, step]}.")
    return x
