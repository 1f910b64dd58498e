r"""Bounds on log Z from both sides, where an exact draw from the target is at hand.

A population's $\hat Z$ is unbiased, so by Jensen $E[\log \hat Z] \le \log Z$. One that keeps an exact draw pinned has
$E[1/\hat Z] = 1/Z$, so $E[\log \hat Z] \ge \log Z$. Source: Grosse, Ancha and Roy 2016, arXiv:1606.02275; for language
models Zhao et al. 2024, arXiv:2404.17546.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp

from heatbath.decode.base import Floats, Task
from heatbath.decode.rng import Random
from heatbath.decode.sequences import evaluate_step
from heatbath.decode.smc import SMC
from heatbath.errors import BadInput
from heatbath.estimate.estimate import Estimate


@dataclass(frozen=True)
class LogZBounds:
    """Means of log Z estimates, nats: `lower` from free populations, `upper` from those that keep an exact draw."""

    lower: Estimate
    upper: Estimate


def estimate_log_z_bounds(sampler: SMC, task: Task, rng: Random, exact_sample: Sequence[int]) -> LogZBounds:
    """log Z of the sampler's target between two means over its replicates; `exact` is a draw from the target.

    Whether it is one cannot be checked here: with another answer the upper figure bounds nothing. The expectation is
    over `exact` too, and all replicates share it, so that their spread understates the error of the upper figure.

    Raises:
        BadInput: an answer that is not whole, or fewer than two replicates.
    """
    if sampler.replicates < 2:
        raise BadInput("bounds are means over replicates: give two or more.")
    free = _estimate_replicate_log_z(replace(sampler, pinned_sequence=None), task, rng)
    held = _estimate_replicate_log_z(replace(sampler, pinned_sequence=tuple(exact_sample)), task, rng)
    return LogZBounds(_mean_estimate(free), _mean_estimate(held))


def _estimate_replicate_log_z(sampler: SMC, task: Task, rng: Random) -> Floats:
    state = sampler.init(task)
    while not state.is_finished:
        state, _ = evaluate_step(sampler, rng, state)
    return np.asarray(logsumexp(state.total_log_weight[state.replicate_slots], axis=1) - np.log(sampler.particles))


def _mean_estimate(values: Floats) -> Estimate:
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(float(values.mean()), error, float(len(values)))
