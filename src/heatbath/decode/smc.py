"""Sequential Monte Carlo (Del Moral et al. 2006; for language models Lew et al. 2023, arXiv:2306.03081).

Particles are rows of one batch. They grow token by token from a proposal, importance weights correct for the target,
and a population with uneven weights is resampled, which forks the session. The mean weight is an unbiased estimate of
the partition function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import logsumexp

from heatbath.decode.base import Floats, Ints, Task
from heatbath.decode.potential_scorer import PotentialScorer
from heatbath.decode.rng import ForcedTokens, Random
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.sequences import (
    Bools,
    SequenceSampler,
    SequenceStep,
    TokenBuffer,
    require_single_prompt,
    validate_at_least,
)
from heatbath.decode.smc_state import SMCState
from heatbath.decode.target import Target, TokenScores, build_target, split_target_options
from heatbath.energy.spec import Spec
from heatbath.errors import BadInput, suggest_name
from heatbath.estimate.resample import SCHEMES, conditional_multinomial, ess, resample_particles
from heatbath.models.base import Session


@dataclass(frozen=True)
class SMC(SequenceSampler[SMCState]):
    """Run `replicates` populations of `particles`, resampled below `threshold` x `particles` effective ones.

    Attributes:
        replicates: independent populations in one batch, whose spread gives the error of log Z.
        resampling: name of the resampling scheme.
        ladder: number of tokens over which the power rises from 1 to that of the target.
        pinned_sequence: stays in the first slot of each replicate. If it is an exact draw from the target, the mean of
            log Z estimates is an upper bound (conditional SMC; Andrieu et al. 2010).
    """

    target: Target = field(default_factory=Target)
    particles: int = 16
    replicates: int = 4
    resampling: str = "systematic"
    threshold: float = 0.5
    ladder: int = 0
    pinned_sequence: Sequence[int] | None = None

    def __post_init__(self) -> None:
        validate_at_least(self.particles, 1, "particles")
        validate_at_least(self.replicates, 1, "replicates")
        validate_at_least(self.ladder, 0, "ladder")
        if self.resampling not in SCHEMES:
            hint = suggest_name(self.resampling, SCHEMES)
            raise BadInput(
                f"unknown resampling {self.resampling!r}{hint}: choose from {', '.join(SCHEMES)}.", param="resampling"
            )
        if not 0 <= self.threshold <= 1:
            raise BadInput(f"`threshold` must be in [0, 1], got {self.threshold}.", param="threshold")

    def init(self, task: Task) -> SMCState:
        count = self.particles * self.replicates
        scorer = PotentialScorer.from_task(self.target.potentials, require_single_prompt(task, "SMC"))
        self._validate_pinned(task)
        zeros, replicate_zeros = np.zeros(count), np.zeros(self.replicates)
        return SMCState(
            buffer=TokenBuffer.empty(count, task.max_tokens),
            batch=self.target.proposal_sampler.init(task),
            open_slots=np.arange(count),
            scorer=scorer,
            log_weight=zeros,
            accumulated_log_z=replicate_zeros,
            logprob=zeros,
            energy=zeros,
            root_ancestors=np.arange(count),
            resampling_counts=replicate_zeros.astype(np.int64),
            first_row=task.first_row,
            needs_resampling=np.zeros(self.replicates, bool),
            current_power=self._power_at_length(0),
        )

    def pending(self, state: SMCState) -> Session | None:
        return None if state.needs_resampling.any() else state.session

    def max_rows(self, prompts: int) -> int:
        return self.particles * self.replicates

    def step(self, rng: Random, state: SMCState, energies: Any) -> tuple[SMCState, SequenceStep]:
        if state.needs_resampling.any():
            state, sources = self._resample_particles(rng, state)
            state = replace(state, needs_resampling=np.zeros_like(state.needs_resampling))
            return (self._finish_resampled(rng, state) if state.is_finished else state), SequenceStep.copies(sources)
        batch = state.batch
        if not state.tokens_spent:
            batch, energies = batch.copy_row(state.open_slots, energies)
        batch, step = self.target.proposal_sampler.step(
            self._pin_random(rng, state).for_rows(state.open_slots.tolist()), batch, energies
        )
        scores = self.target.score_step(batch, step)
        slots = state.open_slots
        buffer = state.buffer.append_tokens(slots, step.tokens, batch.stop_token_ids)
        logprob, log_weight = state.logprob.copy(), state.log_weight.copy()
        logprob[slots] += scores.model_logprob
        log_weight[slots] += _log_weight_increment(scores)
        remaining = np.flatnonzero(~buffer.finished_mask[slots])
        power = self._power_at_length(int(buffer.lengths.max())) if len(remaining) else self.target.power
        log_weight += power * logprob - state.current_power * state.logprob
        energy = state.energy.copy()
        energy[slots] = state.scorer(buffer.to_sequences(slots), buffer.finished_mask[slots])
        log_weight = _subtract_energy_change(log_weight, energy, state.energy)
        state = replace(
            state,
            buffer=buffer,
            batch=batch.advance_rows(remaining),
            open_slots=slots[remaining],
            log_weight=log_weight,
            logprob=logprob,
            energy=energy,
            current_power=power,
            tokens_spent=state.tokens_spent + len(slots),
        )
        state = self._validate_alive(state)
        if len(remaining):
            return replace(state, needs_resampling=self._find_uneven(state)), SequenceStep(slots, step)
        return replace(state, selected_index=rng.choose_index(state.normalized_weights)), SequenceStep(slots, step)

    def _finish_resampled(self, rng: Random, state: SMCState) -> SMCState:
        """Raise the weights to the power of the target where resampling has kept only finished sequences."""
        increment = (self.target.power - state.current_power) * state.logprob
        state = replace(state, log_weight=state.log_weight + increment, current_power=self.target.power)
        return replace(state, selected_index=rng.choose_index(state.normalized_weights))

    def _validate_pinned(self, task: Task) -> None:
        """Raise `BadInput` unless the pinned sequence is finished."""
        pinned = self.pinned_sequence
        if pinned is None or len(pinned) == task.max_tokens or (pinned and pinned[-1] in task.stop_token_ids):
            return
        raise BadInput(f"the pinned sequence of {len(pinned)} tokens is not finished: end it with a stop token.")

    def _power_at_length(self, length: int) -> float:
        """Return the power of the target after `length` tokens."""
        if length >= self.ladder:
            return self.target.power
        return 1 + (self.target.power - 1) * length / self.ladder

    def _pin_random(self, rng: Random, state: SMCState) -> Random:
        if self.pinned_sequence is None:
            return rng
        at = int(state.buffer.lengths[state.open_slots].max())
        # Once the pinned sequence has ended, its slot is not open and no row gets the token.
        token = self.pinned_sequence[at] if at < len(self.pinned_sequence) else 0
        forced = np.isin(np.arange(state.num_slots), state.replicate_slots[:, 0])
        return ForcedTokens(rng, np.full(state.num_slots, token), forced)

    def _find_uneven(self, state: SMCState) -> Bools:
        """Return the mask of replicates whose effective share is below the threshold, (R,)."""
        weights = [state.log_weight[slots] for slots in state.replicate_slots]
        return np.asarray(
            [
                bool(np.isfinite(each.max()) and np.ptp(each) != 0 and ess(each) < self.threshold * len(each))
                for each in weights
            ]
        )

    def _resample_particles(self, rng: Random, state: SMCState) -> tuple[SMCState, Ints]:
        """Resample the populations that need it, and move their mean weight to log Z; return the parents as well."""
        parents, log_weight, log_z = np.arange(state.num_slots), state.log_weight.copy(), state.accumulated_log_z.copy()
        for replicate in np.flatnonzero(state.needs_resampling).tolist():
            slots = state.replicate_slots[replicate]
            weights = state.log_weight[slots]
            parents[slots] = slots[self._draw_parents(weights, rng)]
            log_z[replicate] += logsumexp(weights) - np.log(len(slots))
            log_weight[slots] = 0.0
        counts = state.resampling_counts + state.needs_resampling
        state = copy_parents(state, parents)
        return replace(state, log_weight=log_weight, accumulated_log_z=log_z, resampling_counts=counts), parents

    def _draw_parents(self, weights: Floats, rng: Random) -> Ints:
        if self.pinned_sequence is not None:
            return conditional_multinomial(weights, rng.choose_index)
        return resample_particles(self.resampling, weights, rng.choose_index)

    def _validate_alive(self, state: SMCState) -> SMCState:
        """Return the state. Raises `BadInput` when all particles are forbidden; one dead replicate counts as Z = 0."""
        if not state.alive_replicates.any():
            raise BadInput(
                f"at token {int(state.buffer.lengths.max())} every particle is forbidden by "
                f"{self.target.constraint_names}: increase `particles` or relax the constraint."
            )
        if self.pinned_sequence is not None and np.isneginf(state.log_weight[state.replicate_slots[:, 0]]).any():
            raise BadInput(
                f"the pinned sequence is forbidden by {self.target.constraint_names}: pin one that the target allows."
            )
        return state


def copy_parents(state: SMCState, parents: Ints) -> SMCState:
    """Return the state in which each slot is a copy of its parent (N,); the session forks."""
    buffer = state.buffer.copy_prefixes(parents)
    rows = np.full(state.num_slots, -1)
    rows[state.open_slots] = np.arange(len(state.open_slots))
    open_slots = np.flatnonzero(~buffer.finished_mask)
    batch = state.batch
    if len(open_slots):
        batch = replace(batch.select_rows(rows[parents[open_slots]]), row_ids=state.first_row + open_slots)
    else:
        batch.session.close()
    return replace(
        state,
        buffer=buffer,
        batch=batch,
        open_slots=open_slots,
        logprob=state.logprob[parents],
        energy=state.energy[parents],
        root_ancestors=state.root_ancestors[parents],
    )


def _log_weight_increment(scores: TokenScores) -> Floats:
    """Return the change of log-weights by fields and proposal, (A,); -inf for a token that cannot be drawn."""
    forbidden = np.isposinf(scores.field_energy) | np.isneginf(scores.proposal_logprob)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(forbidden, -np.inf, -scores.field_energy - scores.proposal_logprob))


def _subtract_energy_change(log_weight: Floats, energy: Floats, before: Floats) -> Floats:
    """Return log-weights after the potentials changed from `before` to `energy`; -inf where `energy` is infinite."""
    with np.errstate(invalid="ignore"):
        increase = np.where(np.isinf(energy), np.inf, energy - before)
    return log_weight - increase


PARTICLE_OPTIONS = ("particles", "replicates", "resampling", "threshold", "ladder")


def _build_smc(arguments: SamplerArguments, **options: Any) -> SMC:
    of_target, own = split_target_options(options)
    return SMC(build_target(arguments, **of_target), **own)


SPEC = Spec(
    "smc", "sampler", _build_smc, options=("alpha", "proposal", *PARTICLE_OPTIONS), order=60, uses_potentials=True
)
