r"""Annealed importance sampling of answers (Neal 2001; Jarzynski 1997): a population is led from hot to cold.

It starts as exact draws from the proposal q and ends at the target $\pi$, along $q^{1-\lambda}\pi^\lambda$. Raising
lambda by $\delta$ does the work $-\delta\,w(x)$ on an answer, $w = \log\pi - \log q$; between rises the answers move by
Metropolis-Hastings. $E[e^{-W}] = Z$ holds at any speed; the slower, the less the work spreads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import logsumexp

from heatbath.decode.base import Floats, Ints, Task
from heatbath.decode.metropolis_kernel import MetropolisChains, advance, swap
from heatbath.decode.rng import Random
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.sequences import (
    SequenceSampler,
    SequenceStep,
    WeightedSamples,
    require_single_prompt,
    validate_at_least,
)
from heatbath.decode.target import Target, build_default_target, split_target_options
from heatbath.energy.spec import Spec
from heatbath.errors import BadInput
from heatbath.estimate.bridge import log_mean
from heatbath.estimate.resample import ess, genealogical_ess, resample_particles
from heatbath.models.base import Session


@dataclass(frozen=True)
class AnnealState:
    """Answers on their way down: `rung` of the ladder, `log_weight` (N,) since the last resampling, in nats.

    `log_z` is what resampling has taken out of the weights, `founders` (N,) the first ancestors, `work` (N,) what has
    been done on each line in all, `rates` the share of drafts accepted at each rung.
    """

    chains: MetropolisChains
    ladder: Floats
    log_weight: Floats
    work: Floats
    root_ancestors: Ints
    rung: int = 0
    remaining_sweeps: int = 0
    accumulated_log_z: float = 0.0
    acceptance_rates: tuple[float, ...] = ()
    selected_index: int = 0

    @property
    def num_slots(self) -> int:
        return 2 * self.chains.num_chains

    @property
    def num_streams(self) -> int:
        return self.chains.num_chains

    @property
    def is_finished(self) -> bool:
        return self.chains.is_idle and self.rung == len(self.ladder) - 1 and not self.remaining_sweeps

    @property
    def normalized_weights(self) -> Floats:
        """Weights that sum to one, (N,)."""
        return np.asarray(np.exp(self.log_weight - logsumexp(self.log_weight)))

    def samples(self) -> WeightedSamples:
        """The population with its weights; the value is drawn by weight."""
        now, proper = self.chains.current, self.log_weight + self.accumulated_log_z
        figures = {
            "acceptance": float(np.mean(self.acceptance_rates)) if self.acceptance_rates else float("nan"),
            "mean_work": float(self.work.mean()),
            "work_stderr": _standard_error(self.work),
            "rungs": float(len(self.ladder) - 1),
        }
        return WeightedSamples(
            sequences=now.buffer.to_sequences(),
            slots=self.chains.current_slots,
            finish_reasons=now.buffer.finish_reasons(),
            log_weight=proper,
            logprob=now.total_logprob,
            selected_index=self.selected_index,
            log_z=log_mean(proper),
            ess=genealogical_ess(proper, self.root_ancestors),
            tokens_spent=self.chains.tokens_spent,
            diagnostics=figures,
        )


@dataclass(frozen=True)
class Anneal(SequenceSampler[AnnealState]):
    """`particles` answers led along a `ladder` of lambda, from 0 to 1, with `sweeps` drafts each at every rung.

    `ladder` is the number of rungs, evenly spaced, or the values. With a `threshold` above 0 the population is
    resampled below that share of effective answers; then the error of log Z is only a guide. The proposal of the target
    is the hot end, the model itself at the target's temperature unless given.
    """

    target: Target = field(default_factory=lambda: Target(power=4.0))
    particles: int = 32
    ladder: int | Sequence[float] = 8
    sweeps: int = 1
    threshold: float = 0.0

    def __post_init__(self) -> None:
        validate_at_least(self.particles, 1, "particles")
        validate_at_least(self.sweeps, 1, "sweeps")
        if not 0 <= self.threshold <= 1:
            raise BadInput(f"the threshold is {self.threshold}: give a share of the particles, from 0 to 1.")
        build_ladder(self.ladder)

    def init(self, task: Task) -> AnnealState:
        require_single_prompt(task, "annealing")
        chains = MetropolisChains.start(task, with_model_proposal(self.target), np.zeros(self.particles))
        zeros = np.zeros(self.particles)
        return AnnealState(chains, build_ladder(self.ladder), zeros, zeros, np.arange(self.particles))

    def pending(self, state: AnnealState) -> Session | None:
        return state.chains.pending

    def max_rows(self, prompts: int) -> int:
        return self.particles

    def step(self, rng: Random, state: AnnealState, energies: Any) -> tuple[AnnealState, SequenceStep]:
        started = state.chains.has_sequences
        if state.chains.is_idle and started and not state.remaining_sweeps:
            state = self._advance_rung(rng, state)
        chains, move = advance(state.chains, rng, energies, None if started else np.zeros(self.particles, np.int64))
        state = replace(state, chains=chains)
        if not chains.is_idle:
            return state, move
        if chains.is_forced:
            return self._select_if_finished(rng, state), move
        rate = float(np.mean(chains.accepted_mask))
        return self._select_if_finished(
            rng,
            replace(
                state, remaining_sweeps=state.remaining_sweeps - 1, acceptance_rates=(*state.acceptance_rates, rate)
            ),
        ), move

    def _advance_rung(self, rng: Random, state: AnnealState) -> AnnealState:
        """One rung up: the work is done, then the population is resampled if need be."""
        rung = state.rung + 1
        gain = (state.ladder[rung] - state.ladder[rung - 1]) * state.chains.current.log_weight
        chains = replace(state.chains, lambdas=np.full(self.particles, state.ladder[rung]))
        state = replace(state, chains=chains, rung=rung, remaining_sweeps=self.sweeps)
        state = replace(state, log_weight=state.log_weight + gain, work=state.work - gain)
        if not np.isfinite(state.log_weight.max()):
            names = self.target.constraint_names
            raise BadInput(f"at rung {rung} every answer is forbidden by {names}: ask for more particles, or for less.")
        if ess(state.log_weight) >= self.threshold * self.particles:
            return state
        parents = resample_particles("systematic", state.log_weight, rng.choose_index)
        taken = float(logsumexp(state.log_weight) - np.log(self.particles))
        return replace(
            state,
            chains=swap(chains, parents),
            log_weight=np.zeros(self.particles),
            accumulated_log_z=state.accumulated_log_z + taken,
            work=state.work[parents],
            root_ancestors=state.root_ancestors[parents],
        )

    def _select_if_finished(self, rng: Random, state: AnnealState) -> AnnealState:
        return replace(state, selected_index=rng.choose_index(state.normalized_weights)) if state.is_finished else state


def _standard_error(work: Floats) -> float:
    """Standard error of the mean work; NaN from a single line, or where some have done work without end."""
    if len(work) < 2 or not np.isfinite(work).all():
        return float("nan")
    return float(work.std(ddof=1) / np.sqrt(len(work)))


def with_model_proposal(target: Target) -> Target:
    """The target with the model itself as its proposal, unless it has one."""
    if target.proposal is not None:
        return target
    return replace(target, proposal=target.build_sampler_at(target.temperature), window=None)


def build_ladder(ladder: int | Sequence[float]) -> Floats:
    """Values of lambda from 0 to 1. Raises `BadInput` unless they start at 0, rise and end at 1."""
    if isinstance(ladder, int):
        return np.linspace(0.0, 1.0, validate_at_least(ladder, 1, "ladder") + 1)
    values = np.asarray(ladder, np.float64)
    if values.ndim != 1 or len(values) < 2 or values[0] != 0 or values[-1] != 1 or not (np.diff(values) > 0).all():
        raise BadInput(f"the ladder is {values.tolist()!r:.60}: give numbers that rise from 0 to 1.")
    return values


def _build_anneal(arguments: SamplerArguments, **options: Any) -> Anneal:
    of_target, own = split_target_options(options)
    return Anneal(build_default_target(arguments, **of_target), **own)


SPEC = Spec(
    "anneal",
    "sampler",
    _build_anneal,
    options=("alpha", "proposal", "particles", "ladder", "sweeps", "threshold"),
    order=80,
    uses_potentials=True,
)
