"""Discrete Langevin sampling with Metropolis correction (Zhang, Liu and Liu 2022, arXiv:2206.09914).

For constraints on short texts, with a model that has gradients. Every chain has a sequence of exactly `max_tokens`
tokens, with a stop token only in the last position: the distribution is the target restricted to these sequences. A
sweep changes several positions at once; the proposal is in `heatbath.decode.langevin_proposal`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.base import Batch, Floats, Ints, Step, Task
from heatbath.decode.energy_pipeline import EnergyPipeline
from heatbath.decode.langevin_proposal import ChainPoints, LangevinTarget
from heatbath.decode.rng import ForcedTokens, Random
from heatbath.decode.sampler_arguments import SamplerArguments
from heatbath.decode.sequences import (
    Bools,
    SamplerState,
    SequenceSampler,
    SequenceStep,
    TokenBuffer,
    WeightedSamples,
    require_single_prompt,
    validate_at_least,
    validate_burn,
)
from heatbath.decode.target import Target, build_target, split_target_options
from heatbath.energy.length_fields import MinLength
from heatbath.energy.spec import POWER, ROWS, SHARE, SWEEPS, Range, Spec
from heatbath.errors import BadInput
from heatbath.estimate.convergence import assess_chains, find_forbidden_chain
from heatbath.models.base import Session


@dataclass(frozen=True)
class LangevinState(SamplerState):
    """C chains with their history over sweeps.

    Attributes:
        buffer: the recorded sequences: the first ones, and after all `sweeps` the last ones, token by token.
        token_logprobs: log p_T of the recorded tokens, (C, L).
        batch: the batch from which tokens are recorded.
        points: the current sequences of the chains, None before they have one.
        logprob_history: log p_T after each sweep, (C, S).
        acceptance_history: 1 where the proposal was accepted, (C, S).
        change_counts: number of positions that the sweep changed, (C, S).
    """

    langevin_target: LangevinTarget
    buffer: TokenBuffer
    token_logprobs: Floats
    batch: Batch | None
    points: ChainPoints | None
    sweeps: int
    burn_in_sweeps: int
    logprob_history: Floats
    acceptance_history: Floats
    change_counts: Floats
    tokens_spent: int = 0
    selected_index: int = 0
    is_finished: bool = False

    @property
    def num_slots(self) -> int:
        return len(self.buffer.lengths)

    @property
    def has_finished_sweeps(self) -> bool:
        """True when all sweeps are done."""
        return bool(self.logprob_history.shape[1] == self.sweeps)

    @property
    def forbidden_mask(self) -> Bools:
        """Chains whose current sequence the potentials forbid, (C,)."""
        return np.isinf(self.points.energy) if self.points else np.zeros(self.num_slots, bool)

    def samples(self) -> WeightedSamples:
        """Return the recorded sequences; a chain that ends on a forbidden sequence has weight 0.

        Diagnostics of mixing are over the sweeps after `burn_in_sweeps`. `changed` is the mean number of tokens that a
        sweep changes, since a high acceptance can also mean that steps are too small. `forbidden` is the share of
        chains on a forbidden sequence.
        """
        convergence = assess_chains(
            [self.logprob_history[:, self.burn_in_sweeps :]], self.acceptance_history[:, self.burn_in_sweeps :]
        )
        figures = {
            "acceptance": float(self.acceptance_history.mean()) if self.acceptance_history.size else float("nan"),
            "changed": float(self.change_counts.mean()) if self.change_counts.size else float("nan"),
            "forbidden": float(self.forbidden_mask.mean()),
            "r_hat": convergence.r_hat,
            "sweeps": float(self.logprob_history.shape[1]),
        }
        return WeightedSamples(
            sequences=self.buffer.to_sequences(),
            slots=np.arange(self.num_slots),
            finish_reasons=self.buffer.finish_reasons(),
            log_weight=np.where(self.forbidden_mask & self.has_finished_sweeps, -np.inf, 0.0),
            logprob=self.token_logprobs.sum(1),
            selected_index=self.selected_index,
            log_z=None,
            ess=convergence.ess,
            tokens_spent=self.tokens_spent,
            diagnostics=figures,
            unreliable_reason=self._find_forbidden_chain() or convergence.reason,
        )

    def _find_forbidden_chain(self) -> str:
        return find_forbidden_chain(np.where(self.forbidden_mask, -np.inf, 0.0)) if self.has_finished_sweeps else ""


@dataclass(frozen=True)
class Langevin(SequenceSampler[LangevinState]):
    r"""Run `chains` chains for `sweeps` proposals of `positions` positions each; the first share `burn` is discarded.

    The positions are drawn for each chain and sweep; None takes all. `step_size` is in units of the mean squared
    distance between the embeddings of two tokens; inf ignores the distance. Potentials enter through the acceptance.
    One with a method `token_gradient(context) -> (B, L, V)`, its expected energy of each token at each position up to a
    constant per position, guides the proposals as well. A target with fields, a window or a proposal is an error.

    Chains start from the model at the target's temperature, with stop tokens forbidden before the last position. At the
    end the same sampler repeats their sequences token by token, so that a record has every step: 2 L tokens per chain.
    Each sweep costs a forward and a backward pass over prompt and sequence; `tokens_spent` counts all these positions.
    """

    target: Target = field(default_factory=Target)
    chains: int = 8
    sweeps: int = 128
    burn: float = 0.5
    step_size: float = 0.3
    positions: int | None = 1

    def __post_init__(self) -> None:
        validate_at_least(self.chains, 1, "chains")
        validate_at_least(self.sweeps, 1, "sweeps")
        validate_burn(self.burn)
        if not self.step_size > 0:
            raise BadInput(f"the step size is {self.step_size}: give a positive number.")
        if self.positions is not None:
            validate_at_least(self.positions, 1, "positions")
        steering = EnergyPipeline(self.target.fields, self.target.window)
        if steering.fields or steering.windows or self.target.proposal is not None:
            raise BadInput("the langevin sampler takes potentials, no fields, windows or proposals: leave them out.")

    def init(self, task: Task) -> LangevinState:
        landscape = LangevinTarget.from_task(require_single_prompt(task, "langevin"), self.target, self.step_size)
        none, length = np.empty((self.chains, 0)), task.max_tokens
        return LangevinState(
            langevin_target=landscape,
            buffer=TokenBuffer.empty(self.chains, length),
            token_logprobs=np.zeros((self.chains, length)),
            batch=self._open_batch(task),
            points=None,
            sweeps=self.sweeps,
            burn_in_sweeps=int(self.burn * self.sweeps),
            logprob_history=none,
            acceptance_history=none,
            change_counts=none,
        )

    def pending(self, state: LangevinState) -> Session | None:
        """The session in which sequences are written down; a sweep runs the model by itself, forward and back."""
        return None if state.batch is None else state.batch.session

    def max_rows(self, prompts: int) -> int:
        return self.chains

    def max_tokens_drawn(self, prompts: int, max_tokens: int) -> int:
        return self.chains * max_tokens * (2 + self.sweeps)

    def step(self, rng: Random, state: LangevinState, energies: Any) -> tuple[LangevinState, SequenceStep]:
        points, chains = state.points, np.arange(self.chains)
        if points is None:
            state, step = self._append_tokens(rng, state, energies)
            return self._start_chains(state), SequenceStep(chains, step)
        if not state.has_finished_sweeps:
            return self._sweep(rng, state, points), SequenceStep.copies()
        if state.batch is None:
            state = self._reset_buffer(state)
            return state, SequenceStep.copies(chains, state.buffer.lengths)
        at = int(state.buffer.lengths[0])
        forced = ForcedTokens(rng, points.tokens[:, at], np.ones(self.chains, bool))
        state, step = self._append_tokens(forced, state, energies)
        return self._finish(rng, state), SequenceStep(chains, step)

    def _build_token_sampler(self, task: Task) -> Ancestral:
        """Build the sampler of the first sequences, which also records the last ones with forced tokens."""
        fields = (MinLength(task.max_tokens - 1),) if task.stop_token_ids else ()
        return Ancestral(self.target.temperature, fields=fields)

    def _open_batch(self, task: Task) -> Batch:
        """Open a batch on the prompt."""
        return self._build_token_sampler(task).init(task)

    def _reset_buffer(self, state: LangevinState) -> LangevinState:
        """Clear the recorded sequences, so that the last ones can be recorded."""
        shape = state.buffer.tokens.shape
        batch = self._open_batch(state.langevin_target.task)
        return replace(state, buffer=TokenBuffer.empty(*shape), token_logprobs=np.zeros(shape), batch=batch)

    def _append_tokens(self, rng: Random, state: LangevinState, energies: Any) -> tuple[LangevinState, Step]:
        """Append one token in every slot."""
        batch, task = state.batch, state.langevin_target.task
        assert batch is not None
        if not state.buffer.lengths[0]:
            batch, energies = batch.copy_row(np.arange(self.chains), energies)
        batch, step = self._build_token_sampler(task).step(rng, batch, energies)
        logprob = state.token_logprobs.copy()
        logprob[:, state.buffer.lengths[0]] = step.model_logprob
        buffer = state.buffer.append_tokens(np.arange(self.chains), step.tokens, task.stop_token_ids)
        batch = batch.advance_rows(np.flatnonzero(~buffer.finished_mask))
        spent = state.tokens_spent + self.chains
        return replace(state, buffer=buffer, batch=batch, token_logprobs=logprob, tokens_spent=spent), step

    def _start_chains(self, state: LangevinState) -> LangevinState:
        """Evaluate the chains' points once their first sequences are complete."""
        if not state.buffer.finished_mask.all():
            return state
        points = state.langevin_target.evaluate(state.buffer.tokens)
        return replace(
            state, points=points, batch=None, tokens_spent=state.tokens_spent + self._count_evaluated_positions(state)
        )

    def _count_evaluated_positions(self, state: LangevinState) -> int:
        return self.chains * state.langevin_target.num_positions

    def _sweep(self, rng: Random, state: LangevinState, current: ChainPoints) -> LangevinState:
        """Propose a change for every chain, and accept or reject it."""
        target = state.langevin_target
        positions = self._draw_positions(rng, current.tokens.shape[1])
        tokens, forward_logprob = target.draw_proposal(rng, current, positions)
        proposed = target.evaluate(tokens)
        log_ratio = target.proposal_logprob(proposed, current.tokens, positions) - forward_logprob
        probability = target.acceptance_probability(current, proposed, log_ratio)
        accepted = np.asarray([bool(rng.choose_index(np.array([1 - p, p]))) for p in probability.tolist()])
        points = current.merge_where(accepted, proposed)
        changes = (points.tokens != current.tokens).sum(1)
        state = replace(
            state,
            points=points,
            logprob_history=np.column_stack([state.logprob_history, points.logprob]),
            acceptance_history=np.column_stack([state.acceptance_history, accepted.astype(np.float64)]),
            change_counts=np.column_stack([state.change_counts, changes]),
            tokens_spent=state.tokens_spent + self._count_evaluated_positions(state),
        )
        if state.has_finished_sweeps and state.forbidden_mask.all():
            names = ", ".join(repr(part.name) for _, part in target.scorer.potentials)
            raise BadInput(
                f"after {self.sweeps} sweeps every chain has a sequence that {names} forbid: increase `sweeps` or "
                "relax the constraint."
            )
        return state

    def _draw_positions(self, rng: Random, length: int) -> Ints:
        """Draw distinct positions for each chain, every set equally likely, (C, k)."""
        count = length if self.positions is None else min(self.positions, length)
        if count == length:
            return np.tile(np.arange(length), (self.chains, 1))
        positions = np.empty((self.chains, count), np.int64)
        for row in positions:
            pool = list(range(length))
            row[:] = [pool.pop(rng.choose_index(np.full(len(pool), 1 / len(pool)))) for _ in range(count)]
        return positions

    def _finish(self, rng: Random, state: LangevinState) -> LangevinState:
        """Finish once all sequences are recorded: select one of those that are allowed."""
        if not state.buffer.finished_mask.all():
            return state
        allowed = ~state.forbidden_mask
        return replace(state, selected_index=rng.choose_index(allowed / allowed.sum()), is_finished=True)


def _build_langevin(arguments: SamplerArguments, **options: Any) -> Langevin:
    of_target, own = split_target_options(options)
    return Langevin(build_target(arguments, **of_target), **own)


SPEC = Spec(
    "langevin",
    "sampler",
    _build_langevin,
    options=("alpha", "chains", "sweeps", "burn", "step_size", "positions"),
    order=100,
    uses_potentials=True,
    ranges={
        "alpha": POWER,
        "chains": ROWS,
        "sweeps": SWEEPS,
        "burn": SHARE,
        "step_size": Range(0.0, float("inf")),
        "positions": Range(1, 2**31 - 1, or_none=True),
    },
)
