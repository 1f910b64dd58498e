r"""Resampling of weighted particles, with the whole of its randomness in one injected choice.

Every scheme keeps $E[\text{offspring}_i] = N W_i$, so that means and partition functions stay unbiased; they differ in
variance. `choose(probabilities (n,)) -> int` is asked for each random decision and for nothing else: pass a generator's
draw, or a tracer that walks every path and sums the law exactly. It is only ever offered positive probabilities.

Source: Douc, Cappé and Moulines 2005, arXiv cs/0507025.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Choose = Callable[[Floats], int]

# Sums of N weights are off by a few ulp: an edge this close to a whole number, in units of N ulp, is meant to be one.
_ULPS = 4


def normalize_log_weights(log_weights: Floats) -> Floats:
    r"""$W_i = w_i / \sum_j w_j$ from log-weights (N,) in nats; `-inf` is a dead particle.

    Raises:
        BadInput: no particle is alive, or a log-weight is NaN or `+inf`.
    """
    log_w = np.asarray(log_weights, dtype=np.float64)
    if log_w.ndim != 1 or len(log_w) == 0:
        raise BadInput(f"log-weights have shape {log_w.shape}: give one per particle, shape (N,) with N >= 1.")
    if np.isnan(log_w).any() or np.isposinf(log_w).any():
        bad = int(np.flatnonzero(np.isnan(log_w) | np.isposinf(log_w))[0])
        raise BadInput(f"log-weight {bad} is {log_w[bad]}: give a number, or -inf for a dead particle.")
    if np.isneginf(log_w).all():
        raise BadInput(f"all {len(log_w)} log-weights are -inf: no particle is alive to draw from.")
    w = np.exp(log_w - log_w.max())
    return np.asarray(w / w.sum())


def resample_particles(scheme: str, log_weights: Floats, choose: Choose) -> Ints:
    r"""Parents (N,) of N equally weighted particles drawn from N weighted ones.

    Args:
        scheme: a name in `SCHEMES`.
        log_weights: (N,), nats, `-inf` allowed; they need not be normalised.
        choose: index of one of n positive probabilities (n,), the only source of randomness.

    Raises:
        BadInput: an unknown scheme, or weights that name no particle.
    """
    if scheme not in SCHEMES:
        raise BadInput(f"resampling scheme {scheme!r} is unknown: use one of {', '.join(SCHEMES)}.")
    return SCHEMES[scheme](normalize_log_weights(log_weights), choose)


def conditional_multinomial(log_weights: Floats, choose: Choose) -> Ints:
    """Multinomial parents (N,) in which slot 0 keeps itself: the retained path of conditional SMC.

    Source: Andrieu, Doucet and Holenstein 2010, section 4.3.

    Raises:
        BadInput: slot 0 is dead, or weights that name no particle.
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

    It counts independent lines: resampling multiplies particles, never these. It is at most `ess`.

    Args:
        log_weights: (N,), nats.
        eves: number of each particle's ancestor among the particles at the start, (N,).
    """
    line_e = _sum_lineage_weights(log_weights, eves)
    return float(1 / (line_e @ line_e))


def genealogical_variance(log_weights: Floats, eves: Ints, resamplings: int) -> float:
    r"""Estimate of $\mathrm{Var}(\hat Z) / Z^2$ from one run: $1 - (\frac{N}{N-1})^{r+1} (1 - \sum_e W_e^2)$.

    Times $\hat Z^2$ it is an unbiased estimate of $\mathrm{Var}(\hat Z)$, for any N, where every one of the r
    resamplings was multinomial and came at a time that did not depend on the particles. For other schemes and for
    adaptive times there is no such law. It is noisy and may be negative; once all lines descend from one particle it
    is one and says only that N is too small.

    Args:
        log_weights: weights since the last resampling, (N,), nats.
        eves: number of each particle's ancestor among the particles at the start, (N,).
        resamplings: r, how often the population was resampled since the start.

    Source: Lee and Whiteley 2018, arXiv 1509.00394, the estimate $V_n^N$.

    Raises:
        BadInput: fewer than two particles, or a negative count.
    """
    n = len(log_weights)
    if n < 2:
        raise BadInput(f"a variance from lines of descent needs two particles, there is {n}: add some.")
    if resamplings < 0:
        raise BadInput(f"resamplings is {resamplings}: give how often the population was resampled, 0 or more.")
    line_e = _sum_lineage_weights(log_weights, eves)
    return float(1 - (n / (n - 1)) ** (resamplings + 1) * (1 - line_e @ line_e))


def _sum_lineage_weights(log_weights: Floats, eves: Ints) -> Floats:
    if np.shape(eves) != np.shape(log_weights):
        raise BadInput(f"eves have shape {np.shape(eves)}, log-weights {np.shape(log_weights)}: give one per particle.")
    return np.asarray(
        np.bincount(np.asarray(eves, dtype=np.int64), weights=normalize_log_weights(log_weights)), dtype=np.float64
    )


def _draw_index(shares: Floats, choose: Choose) -> int:
    alive = np.flatnonzero(shares > 0)
    return int(alive[choose(shares[alive] / shares[alive].sum())])


def _snap_to_integers(x: Floats) -> Floats:
    """Numbers up to N that rounding has moved off a whole one, put back: N equal weights are to be N copies."""
    near = np.rint(x)
    return np.where(np.abs(x - near) <= _ULPS * len(x) * np.finfo(np.float64).eps, near, x)


def _cumulative_edges(w: Floats) -> Floats:
    """N times the cumulative weights, from 0 to N, (N + 1,)."""
    total = np.concatenate([[0.0], np.cumsum(w)])
    return _snap_to_integers(len(w) * (total / total[-1]))


def _resample_multinomial(w: Floats, choose: Choose) -> Ints:
    return np.array([_draw_index(w, choose) for _ in w], dtype=np.int64)


def _resample_residual(w: Floats, choose: Choose) -> Ints:
    """Each particle floor(N W) times for certain; the rest by choice among what is left."""
    expected = _snap_to_integers(len(w) * w)
    copies = np.floor(expected).astype(np.int64)
    sure = np.repeat(np.arange(len(w)), copies)
    rest = [_draw_index(expected - copies, choose) for _ in range(len(w) - len(sure))]
    return np.concatenate([sure, np.array(rest, dtype=np.int64)])


def _resample_stratified(w: Floats, choose: Choose) -> Ints:
    """One uniform point in each of N equal strata; choosing the particle it falls to needs no point."""
    edges = _cumulative_edges(w)
    return np.array([_draw_index(np.diff(edges.clip(i, i + 1)), choose) for i in range(len(w))], dtype=np.int64)


def _resample_systematic(w: Floats, choose: Choose) -> Ints:
    """One offset for all strata; the parents change only where it crosses the fraction of a cumulative weight."""
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
"""Name to scheme, in falling order of variance as a rule."""
