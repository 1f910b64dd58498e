"""Answers by discrete Langevin proposals with Metropolis correction (Zhang, Liu and Liu 2022, arXiv:2206.09914).

For constraints on short texts, by a model that has gradients. Every chain holds an answer of exactly L tokens, L being
the greatest length asked for, with a stop token nowhere but in the last place: the law is the target's on these
answers. A sweep changes some of its places at once; the proposal is in `heatbath.decode.langevin_proposal`.
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
from heatbath.energy.spec import Spec
from heatbath.errors import BadInput
from heatbath.estimate.mcmc_diagnostics import mixing_diagnostics
from heatbath.models.base import Session


@dataclass(frozen=True)
class LangevinState:
    """C chains with their past: after each sweep log p_T, whether the hop was accepted, places it changed, (C, S).

    `points` are where the chains stand, None before they have an answer. `sheet` is what has been written down, with
    its log p_T (C, L): the first answers, and once all `sweeps` are done the last ones, token by token from `batch`.
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
    def num_streams(self) -> int:
        return self.num_slots

    @property
    def has_finished_sweeps(self) -> bool:
        """Whether all sweeps are done."""
        return bool(self.logprob_history.shape[1] == self.sweeps)

    @property
    def forbidden_mask(self) -> Bools:
        """Chains that stand on an answer that the potentials forbid, (C,)."""
        return np.isinf(self.points.energy) if self.points else np.zeros(self.num_slots, bool)

    def samples(self) -> WeightedSamples:
        """What is written down; a chain that ends on a forbidden answer weighs nothing.

        Figures are taken over the sweeps after the first `burn`. `changed` is the number of tokens that a sweep
        changes: small steps are accepted because they lead nowhere. `forbidden` is the share of chains that stand on a
        forbidden answer.
        """
        kept = self.logprob_history[:, self.burn_in_sweeps :]
        agreement, effective = mixing_diagnostics(kept)
        figures = {
            "acceptance": float(self.acceptance_history.mean()) if self.acceptance_history.size else float("nan"),
            "changed": float(self.change_counts.mean()) if self.change_counts.size else float("nan"),
            "forbidden": float(self.forbidden_mask.mean()),
            "r_hat": agreement,
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
            ess=effective,
            tokens_spent=self.tokens_spent,
            diagnostics=figures,
        )


@dataclass(frozen=True)
class Langevin(SequenceSampler[LangevinState]):
    r"""`chains` chains of `sweeps` hops of `positions` places each, the first `burn` share of which is forgotten.

    The places are drawn anew for each chain and sweep; None takes all. `step_size` is in units of the mean squared
    distance of two tokens' embeddings; inf leaves distance out. Potentials enter through the acceptance; one that has a
    method `token_gradient(context) -> (B, L, V)`, the energy it expects of each token at each place up to a constant of
    the place, leads the proposals too. Fields, windows and proposals of the target are refused.

    Chains start from the model at the target's temperature, with stop tokens forbidden before the last place, and at
    the end the same sampler is led along their answers, so that a record has every step of them: 2 L tokens a chain.
    Each hop costs a pass forward and back over prompt and answer. `tokens_spent` counts all positions so looked at.
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
        led = ForcedTokens(rng, points.tokens[:, at], np.ones(self.chains, bool))
        state, step = self._append_tokens(led, state, energies)
        return self._finish(rng, state), SequenceStep(chains, step)

    def _build_token_sampler(self, task: Task) -> Ancestral:
        """What draws the first answers, and is led along the last ones."""
        fields = (MinLength(task.max_tokens - 1),) if task.stop_token_ids else ()
        return Ancestral(self.target.temperature, fields=fields)

    def _open_batch(self, task: Task) -> Batch:
        """The prompt, from which the chains' first tokens are drawn."""
        return self._build_token_sampler(task).init(task)

    def _reset_buffer(self, state: LangevinState) -> LangevinState:
        """Nothing written down, so that the last answers can be."""
        shape = state.buffer.tokens.shape
        batch = self._open_batch(state.langevin_target.task)
        return replace(state, buffer=TokenBuffer.empty(*shape), token_logprobs=np.zeros(shape), batch=batch)

    def _append_tokens(self, rng: Random, state: LangevinState, energies: Any) -> tuple[LangevinState, Step]:
        """One token more in every slot."""
        batch, task = state.batch, state.langevin_target.task
        assert batch is not None
        if not state.buffer.lengths[0]:
            batch, energies = batch.copy_row(np.arange(self.chains), energies)
        batch, step = self._build_token_sampler(task).step(rng, batch, energies)
        logprob = state.token_logprobs.copy()
        logprob[:, state.buffer.lengths[0]] = step.model_logprob
        sheet = state.buffer.append_tokens(np.arange(self.chains), step.tokens, task.stop_token_ids)
        batch = batch.advance_rows(np.flatnonzero(~sheet.finished_mask))
        spent = state.tokens_spent + self.chains
        return replace(state, buffer=sheet, batch=batch, token_logprobs=logprob, tokens_spent=spent), step

    def _start_chains(self, state: LangevinState) -> LangevinState:
        """Chains that have an answer begin to walk."""
        if not state.buffer.finished_mask.all():
            return state
        points = state.langevin_target.evaluate(state.buffer.tokens)
        return replace(
            state, points=points, batch=None, tokens_spent=state.tokens_spent + self._count_evaluated_positions(state)
        )

    def _count_evaluated_positions(self, state: LangevinState) -> int:
        return self.chains * state.langevin_target.num_positions

    def _sweep(self, rng: Random, state: LangevinState, now: ChainPoints) -> LangevinState:
        """A hop of every chain."""
        landscape = state.langevin_target
        places = self._draw_positions(rng, now.tokens.shape[1])
        tokens, there = landscape.draw_proposal(rng, now, places)
        new = landscape.evaluate(tokens)
        chance = landscape.acceptance_probability(now, new, landscape.proposal_logprob(new, now.tokens, places) - there)
        accepted = np.asarray([bool(rng.choose_index(np.array([1 - p, p]))) for p in chance.tolist()])
        points = now.merge_where(accepted, new)
        changed = (points.tokens != now.tokens).sum(1)
        state = replace(
            state,
            points=points,
            logprob_history=np.column_stack([state.logprob_history, points.logprob]),
            acceptance_history=np.column_stack([state.acceptance_history, accepted.astype(np.float64)]),
            change_counts=np.column_stack([state.change_counts, changed]),
            tokens_spent=state.tokens_spent + self._count_evaluated_positions(state),
        )
        if state.has_finished_sweeps and state.forbidden_mask.all():
            names = ", ".join(repr(part.name) for _, part in landscape.scorer.potentials)
            raise BadInput(
                f"after {self.sweeps} sweeps every chain stands on an answer that {names} forbid: ask for more sweeps, "
                "or for less."
            )
        return state

    def _draw_positions(self, rng: Random, length: int) -> Ints:
        """Different places for each chain, every set equally likely, (C, k)."""
        count = length if self.positions is None else min(self.positions, length)
        if count == length:
            return np.tile(np.arange(length), (self.chains, 1))
        places = np.empty((self.chains, count), np.int64)
        for row in places:
            left = list(range(length))
            row[:] = [left.pop(rng.choose_index(np.full(len(left), 1 / len(left)))) for _ in range(count)]
        return places

    def _finish(self, rng: Random, state: LangevinState) -> LangevinState:
        """Done when all answers are written down; the answer to give is drawn from those that are allowed."""
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
)
