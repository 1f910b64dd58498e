r"""Tokens that an independent answer from $p^\alpha$ costs, on a chain whose power law is known exactly.

A run's estimate of the mean log p is held against the truth. Of n independent answers it would be off by
$\mathrm{Var}_\pi(\log p) / n$ in square, bias included, so that is how n is defined for every method alike:

$n = \mathrm{Var}_\pi(\log p) / \overline{(\hat m - m)^2}$, and the cost is the tokens of a run over n.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from heatbath.bench.base import Line, at_most
from heatbath.decode import SMC, Metropolis, RowRandom, Sampler, Target, Task, run
from heatbath.decode.base import Floats
from heatbath.models import MarkovModel

ALPHA, LENGTH, SIZE, STOP = 4.0, 32, 16, 0
_REPEATS = 200
# Karan and Du 2025 (arXiv:2510.14901): sixteen blocks of the greatest length, ten drafts in each; their block is also
# tried at half of the length here, and the better of the two counts.
_BLOCKS, _DRAFTS = (LENGTH // 16, LENGTH // 2), 10


@dataclass(frozen=True)
class Moments:
    r"""Mean and variance of log p under $\pi \propto p^\alpha$, and log Z."""

    mean: float
    variance: float
    log_z: float


def lines(repeats: int = _REPEATS) -> Iterator[Line]:
    """Sequential Monte Carlo and Metropolis over whole answers, each beside Metropolis by blocks."""
    model, target = chain(), Target(power=ALPHA)
    exact = moments(model, ALPHA, LENGTH)
    blocks = (Metropolis(target, chains=repeats, sweeps=_DRAFTS, block=block) for block in _BLOCKS)
    theirs = min(cost(model, sampler, exact, repeats) for sampler in blocks)
    ways: dict[str, Sampler[Any, Any]] = {
        "SMC, 64 particles": SMC(target, particles=64, replicates=repeats),
        "Metropolis on whole answers, 40 drafts": Metropolis(target, chains=repeats, sweeps=40, burn=0.25),
    }
    for name, sampler in ways.items():
        ours = cost(model, sampler, exact, repeats)
        title = f"p^{ALPHA:g} by {name} / by blocks (published), up to {LENGTH} tokens"
        yield at_most(title, ours, theirs, limit=0.5, unit="token/effective sample")


def chain(seed: int = 0) -> MarkovModel:
    """A chain of 16 tokens of which one ends an answer, with a chance of a few in a hundred."""
    energies = np.random.default_rng(seed).normal(0.0, 2.0, (SIZE + 1, SIZE))
    energies[:, STOP] = energies[:, 1:].min(1) + 3.0
    return MarkovModel(energies[:-1], energies[-1])


def moments(model: MarkovModel, alpha: float, length: int) -> Moments:
    """By the transfer matrix with two derivatives: of the answers that go on, weight, first and second moment."""
    law = np.log(np.vstack([model.transition(), model.initial()]))
    size = law.shape[1]
    zero, one, two = np.ones(size), np.zeros(size), np.zeros(size)
    for left in range(length):
        rows = law if left == length - 1 else law[:-1]
        weight = np.exp(alpha * rows)
        second = (weight * (rows**2 * zero + 2 * rows * one + two)).sum(1)
        first = (weight * (rows * zero + one)).sum(1)
        zero, one, two = (weight * zero).sum(1), first, second
        # After the end there is nothing more: weight one, and no log-probability.
        zero[STOP], one[STOP], two[STOP] = 1.0, 0.0, 0.0
    mean = one[-1] / zero[-1]
    return Moments(float(mean), float(two[-1] / zero[-1] - mean**2), float(np.log(zero[-1])))


def cost(model: MarkovModel, sampler: Sampler[Any, Any], exact: Moments, repeats: int) -> float:
    """Tokens per effective answer of one of `repeats` runs that are done side by side."""
    state = finished(model, sampler)
    estimates, spent = means(state), tokens(state) / repeats
    effective = exact.variance / float(np.mean((estimates - exact.mean) ** 2))
    return spent / effective


def finished(model: MarkovModel, sampler: Sampler[Any, Any], length: int = LENGTH) -> Any:
    """The sampler's state once it is done with a chain's answers."""
    task = Task(model, [[]], length, (STOP,))
    rng = RowRandom(0, sampler.init(task).streams)
    return next(state for state, _ in run(sampler, rng, task) if state.done)


def means(state: Any) -> Floats:
    """The mean log p as each population (by weight) or each chain (over the sweeps it keeps) tells it, (R,)."""
    if hasattr(state, "groups"):
        logs = state.log_weight[state.groups]
        weights = np.exp(logs - logs.max(1, keepdims=True))
        return np.asarray((weights * state.logprob[state.groups]).sum(1) / weights.sum(1))
    return np.asarray(state.logprob[:, state.burn :].mean(1))


def tokens(state: Any) -> int:
    """Tokens drawn in all runs."""
    return int(state.spent if hasattr(state, "groups") else state.chains.spent)
