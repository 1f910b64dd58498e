r"""Annealed importance sampling of sequences (Neal 2001; Jarzynski 1997).

A population starts as exact draws from the proposal q and ends at the target $\pi$, along $q^{1-\lambda}\pi^\lambda$.
Raising lambda by $\delta$ does the work $-\delta\,w(x)$ on a sequence, $w = \log\pi - \log q$; at each rung the
sequences move by Metropolis-Hastings. $E[e^{-W}] = Z$ holds at any speed; slower annealing reduces the spread of W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import logsumexp

from heatbath.decode.base import Floats, Ints, Task
from heatbath.decode.metropolis_kernel import ChainState, MetropolisChains, advance_chains, copy_chains
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
from heatbath.energy.spec import POWER, ROWS, SHARE, SWEEPS, Range, Spec
from heatbath.errors import BadInput
from heatbath.estimate.bridge import log_mean
from heatbath.estimate.convergence import find_population_fault
from heatbath.estimate.resample import ess, genealogical_ess, resample_particles
from heatbath.models.base import Session


@dataclass(frozen=True)
class AnnealState(ChainState):
    """A population at one rung of the ladder.

    Attributes:
        ladder: values of lambda.
        log_weight: log-weights since the last resampling, (N,), nats.
        work: total work on each sequence, (N,), nats.
        root_ancestors: first ancestor of each, (N,).
        rung: index of the present lambda.
        remaining_sweeps: sweeps that are left at this rung.
        accumulated_log_z: log Z from the resamplings so far.
        acceptance_rates: share of accepted proposals of each sweep.
        selected_index: the sequence drawn by weight at the end.
    """

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
    def is_finished(self) -> bool:
        return self.chains.is_idle and self.rung == len(self.ladder) - 1 and not self.remaining_sweeps

    @property
    def normalized_weights(self) -> Floats:
        """Weights that sum to one, (N,)."""
        return np.asarray(np.exp(self.log_weight - logsumexp(self.log_weight)))

    def samples(self) -> WeightedSamples:
        """Return the population with its weights; the selected sequence is drawn by weight."""
        current, log_weight = self.chains.current, self.log_weight + self.accumulated_log_z
        figures = {
            "acceptance": float(np.mean(self.acceptance_rates)) if self.acceptance_rates else float("nan"),
            "mean_work": float(self.work.mean()),
            "work_stderr": _standard_error(self.work),
            "rungs": float(len(self.ladder) - 1),
        }
        log_z, size = log_mean(log_weight), genealogical_ess(log_weight, self.root_ancestors)
        return WeightedSamples(
            sequences=current.buffer.to_sequences(),
            slots=self.chains.current_slots,
            finish_reasons=current.buffer.finish_reasons(),
            log_weight=log_weight,
            logprob=current.total_logprob,
            selected_index=self.selected_index,
            log_z=log_z,
            ess=size,
            tokens_spent=self.chains.tokens_spent,
            diagnostics=figures,
            unreliable_reason=find_population_fault(log_z, size),
        )


@dataclass(frozen=True)
class Anneal(SequenceSampler[AnnealState]):
    """Anneal `particles` sequences along a `ladder` of lambda from 0 to 1, with `sweeps` proposals at every rung.

    `ladder` is a number of evenly spaced rungs, or the values. With a `threshold` above 0 the population is resampled
    when its effective share falls below it; then the error of log Z is approximate. The annealing starts at the
    proposal of the target, which is the model at the target's temperature unless given.
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
            raise BadInput(f"`threshold` must be in [0, 1], got {self.threshold}.", param="threshold")
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

    def max_tokens_drawn(self, prompts: int, max_tokens: int) -> int:
        rungs = self.ladder if isinstance(self.ladder, int) else len(self.ladder) - 1
        return self.particles * max_tokens * (1 + rungs * self.sweeps)

    def step(self, rng: Random, state: AnnealState, energies: Any) -> tuple[AnnealState, SequenceStep]:
        has_sequences = state.chains.has_sequences
        cuts = None if has_sequences else np.zeros(self.particles, np.int64)
        if state.chains.is_idle and has_sequences and not state.remaining_sweeps:
            state = self._advance_rung(rng, state)
        chains, change = advance_chains(state.chains, rng, energies, cuts)
        state = replace(state, chains=chains)
        if not chains.is_idle:
            return state, change
        if chains.is_forced:
            return self._select_if_finished(rng, state), change
        rate = float(np.mean(chains.accepted_mask))
        return self._select_if_finished(
            rng,
            replace(
                state, remaining_sweeps=state.remaining_sweeps - 1, acceptance_rates=(*state.acceptance_rates, rate)
            ),
        ), change

    def _advance_rung(self, rng: Random, state: AnnealState) -> AnnealState:
        """Raise lambda by one rung: add the work to the weights, then resample if they have become uneven."""
        rung = state.rung + 1
        gain = (state.ladder[rung] - state.ladder[rung - 1]) * state.chains.current.log_weight
        chains = replace(state.chains, lambdas=np.full(self.particles, state.ladder[rung]))
        state = replace(state, chains=chains, rung=rung, remaining_sweeps=self.sweeps)
        state = replace(state, log_weight=state.log_weight + gain, work=state.work - gain)
        if not np.isfinite(state.log_weight.max()):
            names = self.target.constraint_names
            raise BadInput(
                f"at rung {rung} every sequence is forbidden by {names}: increase `particles` or relax the constraint."
            )
        if ess(state.log_weight) >= self.threshold * self.particles:
            return state
        parents = resample_particles("systematic", state.log_weight, rng.choose_index)
        log_mean_weight = float(logsumexp(state.log_weight) - np.log(self.particles))
        return replace(
            state,
            chains=copy_chains(chains, parents),
            log_weight=np.zeros(self.particles),
            accumulated_log_z=state.accumulated_log_z + log_mean_weight,
            work=state.work[parents],
            root_ancestors=state.root_ancestors[parents],
        )

    def _select_if_finished(self, rng: Random, state: AnnealState) -> AnnealState:
        return replace(state, selected_index=rng.choose_index(state.normalized_weights)) if state.is_finished else state


def _standard_error(work: Floats) -> float:
    """Return the standard error of the mean work; NaN for a single sequence, or where some work is infinite."""
    if len(work) < 2 or not np.isfinite(work).all():
        return float("nan")
    return float(work.std(ddof=1) / np.sqrt(len(work)))


def with_model_proposal(target: Target) -> Target:
    """Return the target with the model as its proposal, unless it has one."""
    if target.proposal is not None:
        return target
    return replace(target, proposal=target.build_sampler_at(target.temperature), window=None)


RUNGS = Range(1, 1024, or_list=True)
"""The numbers of rungs that a request may give, or their values."""


def build_ladder(ladder: int | Sequence[float]) -> Floats:
    """Return values of lambda from 0 to 1. Raises `BadInput` unless they start at 0, increase and end at 1."""
    if isinstance(ladder, int):
        return np.linspace(0.0, 1.0, validate_at_least(ladder, 1, "ladder") + 1)
    values = np.asarray(ladder, np.float64)
    if values.ndim != 1 or len(values) < 2 or values[0] != 0 or values[-1] != 1 or not (np.diff(values) > 0).all():
        raise BadInput(f"`ladder` must increase from 0 to 1, got {values.tolist()!r:.60}.", param="ladder")
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
    ranges={"alpha": POWER, "particles": ROWS, "ladder": RUNGS, "sweeps": SWEEPS, "threshold": SHARE},
)
