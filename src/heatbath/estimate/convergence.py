r"""Convergence of chains and of weighted populations: reasons for which their means and log Z are not reliable.

A standard error is computed from the scatter within a run. It says nothing of a region that no chain has reached yet,
so a run is asked first whether it shows that it has not converged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heatbath.estimate.estimate import Estimate
from heatbath.estimate.mcmc_diagnostics import MAX_R_HAT, MIN_STEPS, effective_steps, r_hat

Floats = NDArray[np.float64]

MIN_CHAIN_ESS = 10.0
"""Fewest effective steps, over all chains, for a mean and its error."""
MIN_WEIGHT_ESS = 10.0
"""Fewest effective members of a weighted population for the error of its log Z."""


@dataclass(frozen=True)
class ChainConvergence:
    """The worst `r_hat` and the least `ess` (effective steps) over the quantities of chains.

    `reason` is a sentence that says why means over the chains are not reliable, empty where nothing says so.
    """

    r_hat: float
    ess: float
    reason: str


def assess_chains(quantities: Sequence[ArrayLike], accepted: ArrayLike | None = None) -> ChainConvergence:
    """Assess chains by some quantities, (c, n) finite numbers each without warm-up.

    `accepted` are the acceptances of the proposals in the same sweeps, of any shape. Quantities that are the same number at all steps of
    all chains say nothing of mixing, except that chains that never accept a proposal have not moved.
    """
    nan = float("nan")
    rows = [np.asarray(x_cn, np.float64) for x_cn in quantities]
    if not rows or rows[0].shape[1] < MIN_STEPS:
        steps = rows[0].shape[1] if rows else 0
        return ChainConvergence(
            nan, nan, f"{steps} sweeps after the burn-in are fewer than {MIN_STEPS}: increase `sweeps`"
        )
    ratios, sizes = [r_hat(x) for x in rows], [effective_steps(x) for x in rows]
    moving = [i for i, x in enumerate(rows) if np.ptp(x) > 0]
    worst = max((ratios[i] for i in moving), default=nan)
    least = min((sizes[i] for i in moving), default=min(sizes))
    return ChainConvergence(worst, least, _describe_fault(worst, least if moving else None, accepted))


def find_forbidden_chain(log_weights: Floats) -> str:
    """Return the reason where a chain with these log-weights, without warm-up, has found no allowed sequence."""
    if np.isfinite(log_weights).all():
        return ""
    return "a chain was still on a sequence that the target forbids after the burn-in: increase `sweeps` or `burn`"


def _describe_fault(ratio: float, size: float | None, accepted: ArrayLike | None) -> str:
    if accepted is not None and np.size(accepted) and not np.any(accepted):
        return "no proposal was accepted after the burn-in, so that the chains have not moved: increase `sweeps`"
    if ratio > MAX_R_HAT:
        return f"r_hat is {ratio:.2f}, above {MAX_R_HAT}: the chains have not mixed; increase `sweeps`"
    if size is not None and size < MIN_CHAIN_ESS:
        return f"{size:.1f} effective steps are fewer than {MIN_CHAIN_ESS:g}: increase `sweeps` or `chains`"
    return ""


def find_population_fault(estimate: Estimate, size: float) -> str:
    """Return why log Z of a weighted population of effective `size` is not reliable, empty where nothing says so."""
    if estimate.value == -np.inf:
        return ""
    if not size >= MIN_WEIGHT_ESS:
        return f"the weights leave {size:.1f} effective sequences, fewer than {MIN_WEIGHT_ESS:g}: draw more"
    if not np.isfinite(estimate.stderr):
        return "the run is too small for a standard error: draw more sequences, or use `replicates`"
    return ""


def autocorrelated_bridge_error(estimate: Estimate, forward: Floats, reverse: Floats) -> float:
    r"""Return the standard error of `bridge.bar` for log-weights of independent samples (n,) or of chains (c, n).

    The variance is $\sum_{\text{sides}} \mathrm{Var}(\bar f)/\bar f^2$ with f as in `bar`; that of a mean over chains
    is the variance of f over the effective number of steps. NaN where a chain has fewer than four steps.
    """
    from scipy.special import expit

    offset = np.log(forward.size / reverse.size)
    sides = expit(forward - offset - estimate.value), expit(offset - reverse + estimate.value)
    return float(np.sqrt(sum(_relative_mean_variance(side) for side in sides)))


def _relative_mean_variance(x: Floats) -> float:
    """Return the squared relative standard error of the mean of positive numbers, (n,) or in chains (c, n)."""
    mean = float(x.mean())
    if x.ndim > 1 and x.shape[1] < MIN_STEPS:
        return float("nan")
    if mean == 0:
        return float("inf")
    size = x.size if x.ndim == 1 else effective_steps(x)
    return float(x.var() / size) / mean**2
