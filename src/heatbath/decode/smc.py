"""Sequential Monte Carlo (Del Moral et al. 2006; for language models Lew et al. 2023, arXiv:2306.03081).

Particles are rows of one batch. They grow token by token from a proposal, importance weights correct for the target,
and a population with uneven weights is resampled, which forks the session. The mean weight is an unbiased estimate of
the partition function.

The change of weights by the next token is mostly known before it is drawn. Populations are resampled by weights that
include it, between the evaluation of the model and the draw, so that copies of a particle draw tokens of their own
(Pitt and Shephard 1999; their filter is called fully adapted where the prediction is exact).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import logsumexp

from heatbath.decode.ancestral import Ancestral, apply_pipeline
from heatbath.decode.base import Floats, Ints, Step, Task
from heatbath.decode.energy_pipeline import PipelineResult
from heatbath.decode.potential_scorer import PotentialScorer
from heatbath.decode.rng import ForcedTokens, Random
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.schedules import Schedule
from heatbath.decode.selection_step import advance_by_selection, leave_one_open, validate_selection
from heatbath.decode.sequences import (
    Bools,
    SequenceSampler,
    SequenceStep,
    TokenBuffer,
    require_single_prompt,
    validate_at_least,
)
from heatbath.decode.smc_state import SMCState, copy_parents, subtract_energy_change
from heatbath.decode.target import Target, TokenScores, build_target, split_target_options
from heatbath.energy.spec import POWER, ROWS, SHARE, Range, Spec
from heatbath.errors import BadInput, suggest_name
from heatbath.estimate.resample import SCHEMES, conditional_multinomial, ess, resample_particles
from heatbath.models.base import Session

OPTIMAL = "optimal"
RESAMPLINGS = (*SCHEMES, OPTIMAL)


@dataclass(frozen=True)
class SMC(SequenceSampler[SMCState]):
    """Run `replicates` populations of `particles`, resampled below `threshold` x `particles` effective ones.

    Attributes:
        replicates: independent populations in one batch, whose spread gives the error of log Z.
        resampling: name of the resampling scheme; "optimal" selects among all continuations at every step.
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
        if self.resampling not in RESAMPLINGS:
            hint = suggest_name(str(self.resampling), RESAMPLINGS)
            raise BadInput(
                f"unknown resampling {self.resampling!r}{hint}: choose from {', '.join(RESAMPLINGS)}.",
                param="resampling",
            )
        if self.resampling == OPTIMAL:
            validate_selection(self.target, self.ladder, self.pinned_sequence is not None)
        if not 0 <= self.threshold <= 1:
            raise BadInput(f"`threshold` must be in [0, 1], got {self.threshold}.", param="threshold")

    def init(self, task: Task) -> SMCState:
        count = self.particles * self.replicates
        scorer = PotentialScorer.from_task(self.target.potentials, require_single_prompt(task, "SMC"))
        self._validate_pinned(task)
        zeros, replicate_zeros = np.zeros(count), np.zeros(self.replicates)
        state = SMCState(
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
            current_power=self._power_at_length(0),
            has_lineages=self.resampling != OPTIMAL,
        )
        return state if state.has_lineages else leave_one_open(state)

    def pending(self, state: SMCState) -> Session | None:
        return state.session

    def max_rows(self, prompts: int) -> int:
        return self.particles * self.replicates

    def step(self, rng: Random, state: SMCState, energies: Any) -> tuple[SMCState, SequenceStep]:
        if not state.tokens_spent:
            batch, energies = state.batch.copy_row(state.open_slots, energies)
            state = replace(state, batch=batch)
        if self.resampling == OPTIMAL:
            state, change = advance_by_selection(self.target, rng, state, energies)
            return self._select_sequence(rng, self._validate_alive(state)), change
        sampler, result, sources = self.target.proposal_sampler, None, None
        if isinstance(sampler, Ancestral) and not isinstance(sampler.temperatures, Schedule):
            result = apply_pipeline(rng.for_rows(state.open_slots.tolist()), state.batch, energies, sampler.pipeline)
        predicted = self._predict_increments(state, result)
        needs_resampling = self._find_uneven(state, state.log_weight + predicted)
        if needs_resampling.any():
            open_slots = state.open_slots
            state, sources = self._resample_particles(rng, state, predicted, needs_resampling)
            if state.is_finished:
                state.batch.session.close()
                return self._finish_resampled(rng, state), SequenceStep.copies(sources)
            rows = np.searchsorted(open_slots, sources[state.open_slots])
            # Before the session forks, which may reuse the memory of the energies.
            result, energies = (None, energies[rows]) if result is None else (result.select_rows(rows), None)
            batch = replace(state.batch.select_rows(rows), row_ids=state.first_row + state.open_slots)
            state = replace(state, batch=batch)
        streams = self._pin_random(rng, state).for_rows(state.open_slots.tolist())
        if result is not None and isinstance(sampler, Ancestral):
            batch, step = sampler.draw_tokens(streams, state.batch, result)
        else:
            batch, step = sampler.step(streams, state.batch, energies)
        return self._weigh_step(rng, replace(state, batch=batch), step, sources)

    def _predict_increments(self, state: SMCState, result: PipelineResult | None) -> Floats:
        """Return the predicted change of log-weights by the next token, (N,); 0 where there is no prediction."""
        predicted = np.zeros(state.num_slots)
        if result is not None and self.target.has_local_proposal and state.current_power == self.target.power:
            predicted[state.open_slots] = self.target.predict_increments(result)
        return predicted

    def _weigh_step(
        self, rng: Random, state: SMCState, step: Step, sources: Ints | None
    ) -> tuple[SMCState, SequenceStep]:
        """Append the drawn tokens and update the weights."""
        batch, slots = state.batch, state.open_slots
        scores = self.target.score_step(batch, step)
        buffer = state.buffer.append_tokens(slots, step.tokens, batch.stop_token_ids)
        logprob, log_weight = state.logprob.copy(), state.log_weight.copy()
        logprob[slots] += scores.model_logprob
        log_weight[slots] += _log_weight_increment(scores)
        remaining = np.flatnonzero(~buffer.finished_mask[slots])
        power = self._power_at_length(int(buffer.lengths.max())) if len(remaining) else self.target.power
        log_weight += power * logprob - state.current_power * state.logprob
        energy = state.energy.copy()
        energy[slots] = self._score_potentials(state.scorer, step, buffer, slots)
        log_weight = subtract_energy_change(log_weight, energy, state.energy)
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
        return self._select_sequence(rng, self._validate_alive(state)), SequenceStep(slots, step, sources)

    def _select_sequence(self, rng: Random, state: SMCState) -> SMCState:
        """Draw a sequence by weight once all have ended."""
        if not state.is_finished:
            return state
        return replace(state, selected_index=rng.choose_index(state.normalized_weights))

    def _score_potentials(self, scorer: PotentialScorer, step: Step, buffer: TokenBuffer, slots: Ints) -> Floats:
        """Return the energies of the potentials in `slots`, (A,), from the proposal where it has evaluated them."""
        if step.potential_energy is not None:
            return step.potential_energy
        return scorer(buffer.to_sequences(slots), buffer.finished_mask[slots])

    def _finish_resampled(self, rng: Random, state: SMCState) -> SMCState:
        """Raise the weights to the power of the target where resampling has kept only finished sequences."""
        increment = (self.target.power - state.current_power) * state.logprob
        state = replace(state, log_weight=state.log_weight + increment, current_power=self.target.power)
        return self._select_sequence(rng, state)

    def _validate_pinned(self, task: Task) -> None:
        """Raise `BadInput` unless the pinned sequence is finished and its weight in the proposal is known."""
        pinned = self.pinned_sequence
        if pinned is not None and self.target.proposal_sampler.estimates_mass:
            raise BadInput("a sequence cannot be pinned where tokens have random weights: use another proposal.")
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

    def _find_uneven(self, state: SMCState, log_weight: Floats) -> Bools:
        """Return the mask of replicates whose effective share is below the threshold, (R,)."""
        weights = [log_weight[slots] for slots in state.replicate_slots]
        return np.asarray(
            [
                bool(np.isfinite(each.max()) and np.ptp(each) != 0 and ess(each) < self.threshold * len(each))
                for each in weights
            ]
        )

    def _resample_particles(
        self, rng: Random, state: SMCState, predicted: Floats, needs_resampling: Bools
    ) -> tuple[SMCState, Ints]:
        """Resample populations by weights with the `predicted` change, and move their mean weight to log Z.

        The weight of a copy is then one over its prediction. Returns the parents as well.
        """
        parents, log_weight, log_z = np.arange(state.num_slots), state.log_weight.copy(), state.accumulated_log_z.copy()
        for replicate in np.flatnonzero(needs_resampling).tolist():
            slots = state.replicate_slots[replicate]
            weights = state.log_weight[slots] + predicted[slots]
            parents[slots] = slots[self._draw_parents(weights, rng)]
            log_z[replicate] += logsumexp(weights) - np.log(len(slots))
            log_weight[slots] = -predicted[parents[slots]]
        counts = state.resampling_counts + needs_resampling
        state = copy_parents(state, parents)
        return replace(state, log_weight=log_weight, accumulated_log_z=log_z, resampling_counts=counts), parents

    def _draw_parents(self, weights: Floats, rng: Random) -> Ints:
        if self.pinned_sequence is not None:
            return conditional_multinomial(weights, rng.choose_index)
        return resample_particles(self.resampling, weights, rng.choose_index)

    @property
    def _growing_options(self) -> str:
        return "`particles` or `max_rejects`" if self.target.proposal_sampler.estimates_mass else "`particles`"

    def _validate_alive(self, state: SMCState) -> SMCState:
        """Return the state. Raises `BadInput` when all particles are forbidden; one dead replicate counts as Z = 0."""
        if not state.alive_replicates.any():
            raise BadInput(
                f"at token {int(state.buffer.lengths.max())} every particle is forbidden by "
                f"{self.target.constraint_names}: increase {self._growing_options} or relax the constraint."
            )
        if self.pinned_sequence is not None and np.isneginf(state.log_weight[state.replicate_slots[:, 0]]).any():
            raise BadInput(
                f"the pinned sequence is forbidden by {self.target.constraint_names}: pin one that the target allows."
            )
        return state


def _log_weight_increment(scores: TokenScores) -> Floats:
    """Return the change of log-weights by fields and proposal, (A,); -inf for a token that cannot be drawn."""
    forbidden = np.isposinf(scores.field_energy) | np.isneginf(scores.proposal_logprob)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(forbidden, -np.inf, -scores.field_energy - scores.proposal_logprob))


PARTICLE_OPTIONS = ("particles", "replicates", "resampling", "threshold", "ladder")
PARTICLE_RANGES = {
    "alpha": POWER,
    "particles": ROWS,
    "replicates": ROWS,
    "threshold": SHARE,
    "ladder": Range(0, 2**31 - 1),
}


def _build_smc(arguments: SamplerArguments, **options: Any) -> SMC:
    of_target, own = split_target_options(options)
    return SMC(build_target(arguments, **of_target), **own)


SPEC = Spec(
    "smc",
    "sampler",
    _build_smc,
    options=("alpha", "proposal", *PARTICLE_OPTIONS),
    order=60,
    uses_potentials=True,
    ranges=PARTICLE_RANGES,
)
