"""Sequential Monte Carlo over answers (Del Moral et al. 2006; for language models Lew et al. 2023, arXiv:2306.03081).

Particles are rows of one batch. They grow token by token from a proposal, weights make up for what it does not know,
and where weights have become uneven the population is resampled, which is a fork of the session. The mean weight is
an unbiased estimate of the partition function.
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
from heatbath.errors import BadInput
from heatbath.estimate.resample import SCHEMES, conditional_multinomial, ess, resample_particles
from heatbath.models.base import Session


@dataclass(frozen=True)
class SMC(SequenceSampler[SMCState]):
    """`replicates` populations of `particles`, resampled by `resampling` below `threshold` x P effective ones.

    Replicates share a batch and nothing else; log Z has its error from them. With a `ladder` the power of the target
    climbs from 1 in so many tokens. A `pinned` answer stays in the first slot of each replicate: if it is an exact
    draw from the target, the mean of log Z estimates is an upper bound (conditional SMC; Andrieu et al. 2010).
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
            raise BadInput(f"there is no resampling {self.resampling!r}: choose from {', '.join(SCHEMES)}.")
        if not 0 <= self.threshold <= 1:
            raise BadInput(f"the threshold is {self.threshold}: give a share of the particles, from 0 to 1.")

    def init(self, task: Task) -> SMCState:
        count = self.particles * self.replicates
        scorer = PotentialScorer.from_task(self.target.potentials, require_single_prompt(task, "SMC"))
        self._validate_pinned(task)
        zeros, each = np.zeros(count), np.zeros(self.replicates)
        return SMCState(
            buffer=TokenBuffer.empty(count, task.max_tokens),
            batch=self.target.proposal_sampler.init(task),
            open_slots=np.arange(count),
            scorer=scorer,
            log_weight=zeros,
            accumulated_log_z=each,
            logprob=zeros,
            energy=zeros,
            root_ancestors=np.arange(count),
            resampling_counts=each.astype(np.int64),
            first_row=task.first_row,
            uneven=np.zeros(self.replicates, bool),
            current_power=self._power_at_length(0),
        )

    def pending(self, state: SMCState) -> Session | None:
        return None if state.is_finished or state.uneven.any() else state.batch.session

    def max_rows(self, prompts: int) -> int:
        return self.particles * self.replicates

    def step(self, rng: Random, state: SMCState, energies: Any) -> tuple[SMCState, SequenceStep]:
        if state.uneven.any():
            state, sources = self._resample_particles(rng, state)
            state = replace(state, uneven=np.zeros_like(state.uneven))
            return (self._finish_resampled(rng, state) if state.is_finished else state), SequenceStep.copies(sources)
        batch = state.batch
        if not state.tokens_spent:
            batch, energies = batch.copy_row(state.open_slots, energies)
        batch, step = self.target.proposal_sampler.step(
            self._pin_random(rng, state).for_rows(state.open_slots.tolist()), batch, energies
        )
        scores = self.target.score_step(batch, step)
        slots = state.open_slots
        sheet = state.buffer.append_tokens(slots, step.tokens, batch.stop_token_ids)
        logprob, log_weight = state.logprob.copy(), state.log_weight.copy()
        logprob[slots] += scores.model_logprob
        log_weight[slots] += _log_weight_increment(scores)
        stay = np.flatnonzero(~sheet.finished_mask[slots])
        exponent = self._power_at_length(int(sheet.lengths.max())) if len(stay) else self.target.power
        log_weight += exponent * logprob - state.current_power * state.logprob
        energy = state.energy.copy()
        energy[slots] = state.scorer(sheet.to_sequences(slots), sheet.finished_mask[slots])
        log_weight = _subtract_energy_change(log_weight, energy, state.energy)
        state = replace(
            state,
            buffer=sheet,
            batch=batch.advance_rows(stay),
            open_slots=slots[stay],
            log_weight=log_weight,
            logprob=logprob,
            energy=energy,
            current_power=exponent,
            tokens_spent=state.tokens_spent + len(slots),
        )
        state = self._validate_alive(state)
        if len(stay):
            return replace(state, uneven=self._uneven(state)), SequenceStep(slots, step)
        return replace(state, selected_index=rng.choose_index(state.normalized_weights)), SequenceStep(slots, step)

    def _finish_resampled(self, rng: Random, state: SMCState) -> SMCState:
        """Resampling has left none but whole answers: their weights are taken to the power of the target."""
        rise = (self.target.power - state.current_power) * state.logprob
        state = replace(state, log_weight=state.log_weight + rise, current_power=self.target.power)
        return replace(state, selected_index=rng.choose_index(state.normalized_weights))

    def _validate_pinned(self, task: Task) -> None:
        """Raise `BadInput` unless what is pinned is a whole answer."""
        answer = self.pinned_sequence
        if answer is None or len(answer) == task.max_tokens or (answer and answer[-1] in task.stop_token_ids):
            return
        raise BadInput(f"the pinned answer of {len(answer)} tokens is not whole: end it with a stop token.")

    def _power_at_length(self, length: int) -> float:
        """The power after so many tokens."""
        if length >= self.ladder:
            return self.target.power
        return 1 + (self.target.power - 1) * length / self.ladder

    def _pin_random(self, rng: Random, state: SMCState) -> Random:
        if self.pinned_sequence is None:
            return rng
        at = int(state.buffer.lengths[state.open_slots].max())
        # Once the pinned answer has ended its slot is not open, and no row gets the token.
        token = self.pinned_sequence[at] if at < len(self.pinned_sequence) else 0
        forced = np.isin(np.arange(state.num_slots), state.replicate_slots[:, 0])
        return ForcedTokens(rng, np.full(state.num_slots, token), forced)

    def _uneven(self, state: SMCState) -> Bools:
        """Replicates whose weights are so uneven that they are to be resampled, (R,)."""
        weights = [state.log_weight[slots] for slots in state.replicate_slots]
        return np.asarray(
            [
                bool(np.isfinite(each.max()) and np.ptp(each) != 0 and ess(each) < self.threshold * len(each))
                for each in weights
            ]
        )

    def _resample_particles(self, rng: Random, state: SMCState) -> tuple[SMCState, Ints]:
        """Uneven populations are drawn anew; their weights become log Z."""
        parents, log_weight, log_z = np.arange(state.num_slots), state.log_weight.copy(), state.accumulated_log_z.copy()
        for replicate in np.flatnonzero(state.uneven).tolist():
            slots = state.replicate_slots[replicate]
            weights = state.log_weight[slots]
            parents[slots] = slots[self._draw_parents(weights, rng)]
            log_z[replicate] += logsumexp(weights) - np.log(len(slots))
            log_weight[slots] = 0.0
        moved = copy_parents(state, parents)
        resampled = state.resampling_counts + state.uneven
        return replace(moved, log_weight=log_weight, accumulated_log_z=log_z, resampling_counts=resampled), parents

    def _draw_parents(self, weights: Floats, rng: Random) -> Ints:
        if self.pinned_sequence is not None:
            return conditional_multinomial(weights, rng.choose_index)
        return resample_particles(self.resampling, weights, rng.choose_index)

    def _validate_alive(self, state: SMCState) -> SMCState:
        """The state itself. Raises `BadInput` when all is forbidden; a replicate that dies has Z = 0 and counts."""
        if not state.alive_replicates.any():
            raise BadInput(
                f"at token {int(state.buffer.lengths.max())} every particle is forbidden by {self.target.constraint_names}: "
                "ask for more particles, or for less."
            )
        if self.pinned_sequence is not None and np.isneginf(state.log_weight[state.replicate_slots[:, 0]]).any():
            raise BadInput(
                f"the pinned answer is forbidden by {self.target.constraint_names}: pin one that the target allows."
            )
        return state


def copy_parents(state: SMCState, parents: Ints) -> SMCState:
    """Every slot with what its parent (N,) held; the session forks."""
    sheet = state.buffer.copy_prefixes(parents)
    row_of = np.full(state.num_slots, -1)
    row_of[state.open_slots] = np.arange(len(state.open_slots))
    open_ = np.flatnonzero(~sheet.finished_mask)
    batch = state.batch
    if len(open_):
        batch = replace(batch.select_rows(row_of[parents[open_]]), row_ids=state.first_row + open_)
    else:
        batch.session.close()
    return replace(
        state,
        buffer=sheet,
        batch=batch,
        open_slots=open_,
        logprob=state.logprob[parents],
        energy=state.energy[parents],
        root_ancestors=state.root_ancestors[parents],
    )


def _log_weight_increment(scores: TokenScores) -> Floats:
    """What fields and proposal add to log-weights, (A,); nothing is left of a token that cannot be drawn."""
    lost = np.isposinf(scores.field_energy) | np.isneginf(scores.proposal_logprob)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(lost, -np.inf, -scores.field_energy - scores.proposal_logprob))


def _subtract_energy_change(log_weight: Floats, energy: Floats, before: Floats) -> Floats:
    """Weights after potentials rose from `before` to `energy`; a forbidden answer stays so."""
    with np.errstate(invalid="ignore"):
        rise = np.where(np.isinf(energy), np.inf, energy - before)
    return log_weight - rise


PARTICLE_OPTIONS = ("particles", "replicates", "resampling", "threshold", "ladder")


def _build_smc(arguments: SamplerArguments, **options: Any) -> SMC:
    of_target, own = split_target_options(options)
    return SMC(build_target(arguments, **of_target), **own)


SPEC = Spec(
    "smc", "sampler", _build_smc, options=("alpha", "proposal", *PARTICLE_OPTIONS), order=60, uses_potentials=True
)
