r"""Selection of the continuations of a population: every next token of every particle is a candidate.

One evaluation of the model gives the weights of all V continuations of a particle. Drawing one of them, and resampling
later, makes copies of what is likely. Here at most N of the N V candidates are kept, each once: those whose weight is
above a threshold c with their own weight, of the others a stratified sample with weight c each. Expected
weights stay as they are, and c solves $\sum_i \min(w_i / c, 1) = N$, which minimizes the variance of the weights.

Source: Fearnhead and Clifford 2003, J. R. Statist. Soc. B 65(4), the optimal resampling of finite-state models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from heatbath.decode.base import Floats, Ints
from heatbath.decode.energy_pipeline import PipelineResult
from heatbath.decode.target import Target
from heatbath.ensemble.arrays import to_numpy

Choose = Callable[[Floats], int]


@dataclass(frozen=True)
class Selection:
    """Indices of the selected candidates (K,), increasing, and their log-weights (K,)."""

    candidates: Ints
    log_weights: Floats


def select_candidates(log_weights: Floats, count: int, choose: Choose) -> Selection:
    """Select at most `count` of the candidates with `log_weights` (M,), without bias; each is selected at most once.

    `choose` draws an index from positive probabilities, and is the only source of randomness.
    """
    top = float(log_weights.max())
    if top == -np.inf:
        return Selection(np.empty(0, np.int64), np.empty(0))
    weights = np.exp(log_weights - top)
    alive = np.flatnonzero(weights)
    if len(alive) <= count:
        return Selection(alive, log_weights[alive])
    kept, threshold = _split_by_threshold(weights, count)
    rest = weights.copy()
    rest[kept] = 0.0
    copies = np.zeros(len(weights), np.int64)
    for index in _draw_strata(rest, count - len(kept), choose):
        copies[index] += 1
    drawn = np.flatnonzero(copies)
    candidates = np.concatenate([kept, drawn])
    values = np.concatenate([log_weights[kept], top + np.log(threshold * copies[drawn])])
    order = np.argsort(candidates)
    return Selection(candidates[order], values[order])


def _split_by_threshold(weights: Floats, count: int) -> tuple[Ints, float]:
    """Return the indices of candidates with more than the threshold weight c, and c."""
    heaviest = np.argpartition(weights, -count)[-count:]
    heaviest = heaviest[np.argsort(-weights[heaviest], kind="stable")]
    # The sum of what is not kept, summed from the lightest, so that it keeps its digits.
    others = weights.copy()
    others[heaviest] = 0.0
    rest = others.sum() + np.cumsum(weights[heaviest][::-1])[::-1]
    left = count - np.arange(count)
    # The heaviest of the others is at most c; with one place left this always holds.
    fits = weights[heaviest] * left <= rest * (1 + 1e-12)
    num_kept = int(np.argmax(fits))
    return heaviest[:num_kept], float(rest[num_kept] / left[num_kept])


def _draw_strata(weights: Floats, count: int, choose: Choose) -> list[int]:
    """Draw one index in each of `count` equal parts of the cumulative weights."""
    alive = np.flatnonzero(weights)
    edges = np.concatenate([[0.0], np.cumsum(weights[alive])])
    edges *= count / edges[-1]
    nearest = np.rint(edges)
    rounding = 4 * len(edges) * count * np.finfo(np.float64).eps
    edges = np.where(np.abs(edges - nearest) < rounding, nearest, edges)
    drawn = []
    for part in range(count):
        low = int(np.searchsorted(edges, part, side="right")) - 1
        high = int(np.searchsorted(edges, part + 1, side="left"))
        overlap = np.diff(edges[low : high + 1].clip(part, part + 1))
        positive = np.flatnonzero(overlap > 0)
        chosen = choose(overlap[positive] / overlap[positive].sum())
        drawn.append(int(alive[low + positive[chosen]]))
    return drawn


@dataclass(frozen=True)
class Continuations:
    """Scores of every next token of the rows of a batch: log p_T and the change of log-weights, (B, V)."""

    logprobs: Floats
    increments: Floats

    @classmethod
    def from_pipeline(cls, target: Target, result: PipelineResult) -> Continuations:
        r"""Compute $\log p_T(v)$ and $\alpha \log p_T(v) - E_f(v) / T$; the latter is -inf for what is not drawn."""
        energies = to_numpy(result.energies).astype(np.float64)
        log_z = result.model_log_z(np.full(len(energies), 1 / target.temperature))
        logprobs = -energies / target.temperature - log_z[:, None]
        increments = target.power * logprobs
        if result.field_stages:
            steered = to_numpy(result.field_stages[-1].energies).astype(np.float64)
            with np.errstate(invalid="ignore"):
                increments = increments - (steered - energies) / target.temperature
        forbidden = np.isinf(to_numpy(result.final_energies))
        if result.dead_rows is not None:
            forbidden |= result.dead_rows[:, None]
        return cls(logprobs, np.where(forbidden, -np.inf, increments))
