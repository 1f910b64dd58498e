r"""Resampling of weighted particles; all randomness comes from one function argument.

Every scheme has $E[\text{offspring}_i] = N W_i$, so that means and partition functions stay unbiased; they differ in
variance. `choose(probabilities (n,)) -> int` makes every random decision: pass a draw from a generator, or in tests a
tracer that visits every path and sums their probabilities exactly. All probabilities that it gets are positive.

Source: Douc, Cappé and Moulines 2005, arXiv cs/0507025.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput, suggest_name

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Choose = Callable[[Floats], int]

# Sums of N weights are off by a few ulp: an edge this close to an integer, in units of N ulp, is rounded to it.
_ULPS = 4


def normalize_log_weights(log_weights: Floats) -> Floats:
    r"""Return $W_i = w_i / \sum_j w_j$ from log-weights (N,) in nats; `-inf` is a dead particle.

    Raises:
        BadInput: no particle is alive, or a log-weight is NaN or `+inf`.
    """
    log_w = np.asarray(log_weights, dtype=np.float64)
    if log_w.ndim != 1 or len(log_w) == 0:
        raise BadInput(f"log-weights must have shape (N,) with N >= 1, one per particle, got {log_w.shape}.")
    if np.isnan(log_w).any() or np.isposinf(log_w).any():
        bad = int(np.flatnonzero(np.isnan(log_w) | np.isposinf(log_w))[0])
        raise BadInput(f"log-weight {bad} must be finite, or -inf for a dead particle, got {log_w[bad]}.")
    if np.isneginf(log_w).all():
        raise BadInput(f"all {len(log_w)} log-weights are -inf: there is no particle to draw from.")
    w = np.exp(log_w - log_w.max())
    return np.asarray(w / w.sum())


def resample_particles(scheme: str, log_weights: Floats, choose: Choose) -> Ints:
    r"""Draw the parents (N,) of N equally weighted particles from N weighted ones.

    Args:
        scheme: a name in `SCHEMES`.
        log_weights: (N,), nats, `-inf` allowed; need not be normalized.
        choose: draws an index from n positive probabilities (n,); the only source of randomness.

    Raises:
        BadInput: an unknown scheme, or invalid weights.
    """
    if scheme not in SCHEMES:
        hint = suggest_name(scheme, SCHEMES)
        raise BadInput(f"unknown resampling scheme {scheme!r}{hint}: use one of {', '.join(SCHEMES)}.")
    return SCHEMES[scheme](normalize_log_weights(log_weights), choose)


def conditional_multinomial(log_weights: Floats, choose: Choose) -> Ints:
    """Draw multinomial parents (N,) with particle 0 its own parent: the retained path of conditional SMC.

    Source: Andrieu, Doucet and Holenstein 2010, section 4.3.

    Raises:
        BadInput: particle 0 is dead, or invalid weights.
    """
    w = normalize_log_weights(log_weights)
    if w[0] == 0:
        raise BadInput("the retained particle 0 has weight 0: condition on a path that the target allows.")
    return np.array([0] + [_draw_index(w, choose) for _ in w[1:]], dtype=np.int64)


def ess(log_weights: Floats) -> float:
    r"""Kish's effective sample size $(\sum w)^2 / \sum w^2$ of log-weights (N,), between 1 and N.

    Raises:
        BadInput: no particle is alive.
    """
    w = normalize_log_weights(log_weights)
    return float(1 / (w @ w))


def genealogical_ess(log_weights: Floats, eves: Ints) -> float:
    r"""$1 / \sum_e W_e^2$, where $W_e$ is the summed weight of the descendants of founding particle e.

    It counts independent lineages: resampling copies particles, but never adds lineages. It is at most `ess`.

    Args:
        log_weights: (N,), nats.
        eves: index of the ancestor of each particle among the initial particles, (N,).
    """
    weight_e = _sum_lineage_weights(log_weights, eves)
    return float(1 / (weight_e @ weight_e))


def genealogical_variance(log_weights: Floats, eves: Ints, resamplings: int) -> float:
    r"""Estimate of $\mathrm{Var}(\hat Z) / Z^2$ from one run: $1 - (\frac{N}{N-1})^{r+1} (1 - \sum_e W_e^2)$.

    Times $\hat Z^2$ it is an unbiased estimate of $\mathrm{Var}(\hat Z)$ for any N, if all r resamplings were
    multinomial at times that do not depend on the particles. For other schemes and adaptive times this does not hold.
    It is noisy and may be negative; once all particles descend from one it is 1 and only shows that N is too small.

    Args:
        log_weights: weights since the last resampling, (N,), nats.
        eves: index of the ancestor of each particle among the initial particles, (N,).
        resamplings: r, the number of resamplings since the start.

    Source: Lee and Whiteley 2018, arXiv 1509.00394, the estimate $V_n^N$.

    Raises:
        BadInput: fewer than two particles, or a negative count.
    """
    n = len(log_weights)
    if n < 2:
        raise BadInput(f"a genealogical variance needs at least two particles, got {n}.")
    if resamplings < 0:
        raise BadInput(f"`resamplings` must be at least 0, got {resamplings}.")
    weight_e = _sum_lineage_weights(log_weights, eves)
    return float(1 - (n / (n - 1)) ** (resamplings + 1) * (1 - weight_e @ weight_e))


def _sum_lineage_weights(log_weights: Floats, eves: Ints) -> Floats:
    if np.shape(eves) != np.shape(log_weights):
        raise BadInput(f"expected one eve per particle, got shapes {np.shape(eves)} and {np.shape(log_weights)}.")
    return np.asarray(
        np.bincount(np.asarray(eves, dtype=np.int64), weights=normalize_log_weights(log_weights)), dtype=np.float64
    )


def _draw_index(shares: Floats, choose: Choose) -> int:
    alive = np.flatnonzero(shares > 0)
    return int(alive[choose(shares[alive] / shares[alive].sum())])


def _snap_to_integers(x: Floats) -> Floats:
    """Round numbers within rounding error of an integer to it, so that N equal weights give one copy each."""
    nearest = np.rint(x)
    return np.where(np.abs(x - nearest) <= _ULPS * len(x) * np.finfo(np.float64).eps, nearest, x)


def _cumulative_edges(w: Floats) -> Floats:
    """Return N times the cumulative weights, from 0 to N, (N + 1,)."""
    total = np.concatenate([[0.0], np.cumsum(w)])
    return _snap_to_integers(len(w) * (total / total[-1]))


def _resample_multinomial(w: Floats, choose: Choose) -> Ints:
    return np.array([_draw_index(w, choose) for _ in w], dtype=np.int64)


def _resample_residual(w: Floats, choose: Choose) -> Ints:
    """Copy each particle floor(N W) times and draw the remaining ones from the residual weights."""
    expected = _snap_to_integers(len(w) * w)
    copies = np.floor(expected).astype(np.int64)
    fixed = np.repeat(np.arange(len(w)), copies)
    drawn = [_draw_index(expected - copies, choose) for _ in range(len(w) - len(fixed))]
    return np.concatenate([fixed, np.array(drawn, dtype=np.int64)])


def _resample_stratified(w: Floats, choose: Choose) -> Ints:
    """Draw one particle in each of N equal strata, with probability of its overlap with the stratum."""
    edges = _cumulative_edges(w)
    return np.array([_draw_index(np.diff(edges.clip(i, i + 1)), choose) for i in range(len(w))], dtype=np.int64)


def _resample_systematic(w: Floats, choose: Choose) -> Ints:
    """Draw one offset for all strata; parents change only where it crosses the fraction of a cumulative weight."""
    edges = _cumulative_edges(w)
    breaks = np.unique(np.concatenate([edges % 1, [0.0, 1.0]]))
    i = _draw_index(np.diff(breaks), choose)
    offset = (breaks[i] + breaks[i + 1]) / 2
    return np.asarray(np.searchsorted(edges[1:], np.arange(len(w)) + offset, side="right"), dtype=np.int64)


SCHEMES: dict[str, Callable[[Floats, Choose], Ints]] = {
    "multinomial": _resample_multinomial,
    "residual": _resample_residual,
    "stratified": _resample_stratified,
    "systematic": _resample_systematic,
}
"""Resampling schemes by name, typically in order of decreasing variance."""
