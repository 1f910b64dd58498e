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
MIN_CERTAIN_PROPOSALS = 30
"""Fewest proposals that show a target of one sequence: others then have a probability below a tenth."""
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


def assess_chains(quantities: Sequence[ArrayLike], accepted: ArrayLike) -> ChainConvergence:
    """Assess chains by some quantities, (c, n) finite numbers each without warm-up.

    `accepted` are the acceptances of the proposals in the same sweeps, of any shape. Chains that stand still are one
    draw each, unless each of at least `MIN_CERTAIN_PROPOSALS` proposals was accepted: then there is but one sequence.
    """
    nan, moves = float("nan"), np.asarray(accepted, np.float64)
    rows = [np.asarray(x_cn, np.float64) for x_cn in quantities]
    if rows[0].shape[1] < MIN_STEPS:
        few = f"{rows[0].shape[1]} sweeps after the burn-in are fewer than {MIN_STEPS}: increase `sweeps`"
        return ChainConvergence(nan, nan, few)
    moving = [x for x in rows if np.ptp(x) > 0]
    if not moving and moves.size >= MIN_CERTAIN_PROPOSALS and moves.all():
        return ChainConvergence(nan, effective_steps(rows[0]), "")
    ratio, size = max(map(r_hat, moving), default=nan), min(map(effective_steps, moving or rows))
    return ChainConvergence(ratio, size, _describe_fault(ratio, size))


def _describe_fault(ratio: float, size: float) -> str:
    if ratio > MAX_R_HAT:
        return f"r_hat is {ratio:.2f}, above {MAX_R_HAT}: the chains have not mixed; increase `sweeps`"
    if size < MIN_CHAIN_ESS:
        return f"{size:.1f} effective steps are fewer than {MIN_CHAIN_ESS:g}: increase `sweeps` or `chains`"
    return ""


def find_forbidden_chain(log_weights: Floats) -> str:
    """Return the reason where a chain with these log-weights, without warm-up, has found no allowed sequence."""
    if np.isfinite(log_weights).all():
        return ""
    return "a chain was still on a sequence that the target forbids after the burn-in: increase `sweeps` or `burn`"


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
