r"""Lower and upper bounds on log Z, where an exact draw from the target is available.

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
    """Means of log Z estimates, nats: `lower` from free populations, `upper` from those with a pinned exact draw."""

    lower: Estimate
    upper: Estimate


def estimate_log_z_bounds(sampler: SMC, task: Task, rng: Random, exact_sample: Sequence[int]) -> LogZBounds:
    """Estimate bounds on log Z of the sampler's target, as means over its replicates.

    `exact_sample` must be an exact draw from the target, which cannot be checked here; with another sequence the upper
    figure is no bound. The expectation is over `exact_sample` too, and all replicates share it, so their spread
    understates the error of the upper figure.

    Raises:
        BadInput: a sample that is not finished, or fewer than two replicates.
    """
    if sampler.replicates < 2:
        raise BadInput(f"`replicates` must be at least 2 for bounds, got {sampler.replicates}.", param="replicates")
    free = _estimate_replicate_log_z(replace(sampler, pinned_sequence=None), task, rng)
    pinned = _estimate_replicate_log_z(replace(sampler, pinned_sequence=tuple(exact_sample)), task, rng)
    return LogZBounds(_mean_estimate(free), _mean_estimate(pinned))


def _estimate_replicate_log_z(sampler: SMC, task: Task, rng: Random) -> Floats:
    state = sampler.init(task)
    while not state.is_finished:
        state, _ = evaluate_step(sampler, rng, state)
    return np.asarray(logsumexp(state.total_log_weight[state.replicate_slots], axis=1) - np.log(sampler.particles))


def _mean_estimate(values: Floats) -> Estimate:
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(float(values.mean()), error, float(len(values)))
