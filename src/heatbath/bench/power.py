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

from heatbath.bench.base import BenchmarkLine, upper_limit_line
from heatbath.decode import SMC, Metropolis, RowRandom, SequenceSampler, Target, Task, run
from heatbath.decode.base import Floats
from heatbath.models import MarkovModel

ALPHA, LENGTH, SIZE, STOP = 4.0, 32, 16, 0
_REPEATS, _CHAINS = 60, 4
# Karan and Du 2025 (arXiv:2510.14901): sixteen blocks in the greatest length, ten drafts in each.
_BLOCKS, _DRAFTS = 16, 10


@dataclass(frozen=True)
class LogprobMoments:
    r"""Mean and variance of log p under $\pi \propto p^\alpha$, and log Z."""

    mean: float
    variance: float
    log_z: float


def lines(repeats: int = _REPEATS, chains: int = _CHAINS) -> Iterator[BenchmarkLine]:
    """Sequential Monte Carlo and Metropolis over whole answers, each beside the blocks that are published.

    The cost is the geometric mean over chains, which differ by a factor of ten in how hard they are.
    """
    target = Target(power=ALPHA)
    published = Metropolis(target, chains=repeats, sweeps=_DRAFTS, block=LENGTH // _BLOCKS)
    ways: dict[str, SequenceSampler[Any]] = {
        "SMC, 64 particles": SMC(target, particles=64, replicates=repeats),
        "Metropolis on whole answers, 40 drafts": Metropolis(target, chains=repeats, sweeps=40, burn=0.25),
    }
    theirs = _compute_mean_cost(published, repeats, chains)
    for name, sampler in ways.items():
        title = f"p^{ALPHA:g} by {name} / {_BLOCKS} blocks, {LENGTH} tokens"
        yield upper_limit_line(
            title, _compute_mean_cost(sampler, repeats, chains), theirs, limit=0.5, unit="token/effective"
        )


def build_chain(seed: int) -> MarkovModel:
    """A chain of 16 tokens with Gaussian energies of standard deviation 1, whose answers have the greatest length.

    An end is made too dear to matter: else $p^4$ is held by answers that end at once, which no proposal here finds, and
    all methods would be off by the same.
    """
    energies = np.random.default_rng(seed).normal(0.0, 1.0, (SIZE + 1, SIZE))
    energies[:, STOP] = energies[:, 1:].min(1) + 40.0
    return MarkovModel(energies[:-1], energies[-1])


def _compute_mean_cost(sampler: SequenceSampler[Any], repeats: int, chains: int) -> float:
    models = [build_chain(seed) for seed in range(chains)]
    costs = [compute_cost(model, sampler, compute_moments(model, ALPHA, LENGTH), repeats) for model in models]
    return float(np.exp(np.mean(np.log(costs))))


def compute_moments(model: MarkovModel, alpha: float, length: int) -> LogprobMoments:
    """By the transfer matrix with two derivatives: of the answers that go on, weight, first and second moment."""
    law = np.log(np.vstack([model.transition_matrix(), model.initial_distribution()]))
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
    return LogprobMoments(float(mean), float(two[-1] / zero[-1] - mean**2), float(np.log(zero[-1])))


def compute_cost(model: MarkovModel, sampler: SequenceSampler[Any], exact: LogprobMoments, repeats: int) -> float:
    """Tokens per effective answer of one of `repeats` runs that are done side by side."""
    state = run_to_end(model, sampler)
    estimates, spent = estimate_means(state), count_tokens(state) / repeats
    effective = exact.variance / float(np.mean((estimates - exact.mean) ** 2))
    return spent / effective


def run_to_end(model: MarkovModel, sampler: SequenceSampler[Any], length: int = LENGTH) -> Any:
    """The sampler's state once it is done with a chain's answers."""
    task = Task(model, [[]], length, (STOP,))
    rng = RowRandom(0, sampler.init(task).num_streams)
    return next(state for state, _ in run(sampler, rng, task) if state.is_finished)


def estimate_means(state: Any) -> Floats:
    """The mean log p as each population (by weight) or each chain (over the sweeps it keeps) tells it, (R,)."""
    if hasattr(state, "replicate_slots"):
        logs = state.log_weight[state.replicate_slots]
        weights = np.exp(logs - logs.max(1, keepdims=True))
        return np.asarray((weights * state.logprob[state.replicate_slots]).sum(1) / weights.sum(1))
    return np.asarray(state.logprob_history[:, state.burn_in_sweeps :].mean(1))


def count_tokens(state: Any) -> int:
    """Tokens drawn in all runs."""
    return int(state.tokens_spent if hasattr(state, "replicate_slots") else state.chains.tokens_spent)
