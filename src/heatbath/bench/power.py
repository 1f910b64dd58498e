r"""Tokens per independent sequence from $p^\alpha$, on a Markov chain whose power distribution is known exactly.

A run's estimate of the mean log p is compared with the exact value. With n independent sequences its mean squared error
would be $\mathrm{Var}_\pi(\log p) / n$, which defines n for every method, bias included:

$n = \mathrm{Var}_\pi(\log p) / \overline{(\hat m - m)^2}$, and the cost is the tokens of a run over n.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from heatbath.bench.benchmark import BenchmarkLine, upper_limit_line
from heatbath.decode import SMC, Metropolis, RowRandom, SequenceSampler, Target, Task, run
from heatbath.decode.base import Floats
from heatbath.models import MarkovModel

ALPHA, LENGTH, SIZE, STOP = 4.0, 32, 16, 0
_REPEATS, _CHAINS = 60, 4
# Karan and Du 2025 (arXiv:2510.14901): sixteen blocks in the greatest length, ten proposals in each.
_BLOCKS, _PROPOSALS = 16, 10


@dataclass(frozen=True)
class LogprobMoments:
    r"""Mean and variance of log p under $\pi \propto p^\alpha$, and log Z."""

    mean: float
    variance: float
    log_z: float


def lines(repeats: int = _REPEATS, chains: int = _CHAINS) -> Iterator[BenchmarkLine]:
    """Measure sequential Monte Carlo and Metropolis on whole sequences, each against the published block method.

    The cost is the geometric mean over chains, which differ by a factor of ten in how hard they are.
    """
    target = Target(power=ALPHA)
    published = Metropolis(target, chains=repeats, sweeps=_PROPOSALS, block=LENGTH // _BLOCKS)
    samplers: dict[str, tuple[SequenceSampler[Any], float]] = {
        "SMC, 64 particles, optimal resampling": (SMC(target, 64, repeats, resampling="optimal"), 0.2),
        "SMC, 64 particles": (SMC(target, 64, repeats), 0.2),
        "Metropolis on whole sequences, 40 proposals": (Metropolis(target, repeats, sweeps=40, burn=0.25), 0.5),
    }
    theirs = _compute_mean_cost(published, repeats, chains)
    for name, (sampler, limit) in samplers.items():
        title = f"p^{ALPHA:g} by {name} / {_BLOCKS} blocks, {LENGTH} tokens"
        yield upper_limit_line(
            title, _compute_mean_cost(sampler, repeats, chains), theirs, limit=limit, unit="token/effective"
        )


def build_chain(seed: int) -> MarkovModel:
    """Build a chain of 16 tokens with Gaussian energies of standard deviation 1, whose sequences never end early.

    The stop token gets an energy that rules it out: else $p^4$ has a share of sequences that end at once, which no
    proposal here finds, and all methods would have the same error.
    """
    energies = np.random.default_rng(seed).normal(0.0, 1.0, (SIZE + 1, SIZE))
    energies[:, STOP] = energies[:, 1:].min(1) + 400.0
    return MarkovModel(energies[:-1], energies[-1])


def _compute_mean_cost(sampler: SequenceSampler[Any], repeats: int, chains: int) -> float:
    models = [build_chain(seed) for seed in range(chains)]
    costs = [compute_cost(model, sampler, compute_moments(model, ALPHA, LENGTH), repeats) for model in models]
    return float(np.exp(np.mean(np.log(costs))))


def compute_moments(model: MarkovModel, alpha: float, length: int) -> LogprobMoments:
    """Compute the moments by the transfer matrix with two derivatives."""
    logprobs = np.log(np.vstack([model.transition_matrix(), model.initial_distribution()]))
    size = logprobs.shape[1]
    zero, one, two = np.ones(size), np.zeros(size), np.zeros(size)
    for left in range(length):
        rows = logprobs if left == length - 1 else logprobs[:-1]
        weight = np.exp(alpha * rows)
        second = (weight * (rows**2 * zero + 2 * rows * one + two)).sum(1)
        first = (weight * (rows * zero + one)).sum(1)
        zero, one, two = (weight * zero).sum(1), first, second
        # After the stop token: weight 1 and log-probability 0.
        zero[STOP], one[STOP], two[STOP] = 1.0, 0.0, 0.0
    mean = one[-1] / zero[-1]
    return LogprobMoments(float(mean), float(two[-1] / zero[-1] - mean**2), float(np.log(zero[-1])))


def compute_cost(model: MarkovModel, sampler: SequenceSampler[Any], exact: LogprobMoments, repeats: int) -> float:
    """Return tokens per effective sequence of one of `repeats` runs in one batch."""
    state = run_to_end(model, sampler)
    estimates, spent = estimate_means(state), count_tokens(state) / repeats
    effective = exact.variance / float(np.mean((estimates - exact.mean) ** 2))
    return spent / effective


def run_to_end(model: MarkovModel, sampler: SequenceSampler[Any], length: int = LENGTH) -> Any:
    """Run the sampler to its end and return its state."""
    task = Task(model, [[]], length, (STOP,))
    rng = RowRandom(0, sampler.init(task).num_streams)
    return next(state for state, _ in run(sampler, rng, task) if state.is_finished)


def estimate_means(state: Any) -> Floats:
    """Return the mean log p of each population, by weight, or of each chain, over the sweeps after burn-in, (R,)."""
    if hasattr(state, "replicate_slots"):
        logs = state.log_weight[state.replicate_slots]
        weights = np.exp(logs - logs.max(1, keepdims=True))
        return np.asarray((weights * state.logprob[state.replicate_slots]).sum(1) / weights.sum(1))
    return np.asarray(state.logprob_history[:, state.burn_in_sweeps :].mean(1))


def count_tokens(state: Any) -> int:
    """Return the number of tokens drawn in all runs."""
    return int(state.tokens_spent if hasattr(state, "replicate_slots") else state.chains.tokens_spent)
