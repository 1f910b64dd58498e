"""Power sampling and constraints by Metropolis-Hastings over whole answers, many chains in one batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heatbath.decode.base import Floats, Task
from heatbath.decode.metropolis_kernel import MetropolisChains, advance, select
from heatbath.decode.rng import Random
from heatbath.decode.sequences import (
    SequenceSampler,
    SequenceStep,
    WeightedSamples,
    require_single_prompt,
    validate_at_least,
    validate_burn,
)
from heatbath.decode.target import Target
from heatbath.errors import Unreliable
from heatbath.estimate.bridge import bar
from heatbath.estimate.estimate import Estimate
from heatbath.estimate.mcmc_diagnostics import jackknife, mixing_diagnostics
from heatbath.models.base import Session


@dataclass(frozen=True)
class MetropolisState:
    """Chains with their past: after each sweep log p_T, the gain and whether drafts were accepted, (C, S).

    `fresh` are the gains of the whole answers that were drawn from the proposal to begin with, (C,).
    """

    chains: MetropolisChains
    sweeps: int
    burn_in_sweeps: int
    logprob_history: Floats
    log_weight_history: Floats
    acceptance_history: Floats
    initial_log_weights: Floats
    selected_index: int = 0

    @property
    def num_slots(self) -> int:
        return 2 * self.chains.num_chains

    @property
    def num_streams(self) -> int:
        return self.chains.num_chains

    @property
    def is_finished(self) -> bool:
        at_length = self.chains.max_length == self.chains.rollout_sampler.task.max_tokens
        return bool(at_length and self.logprob_history.shape[1] == self.sweeps and self.chains.is_idle)

    def samples(self) -> WeightedSamples:
        """Where the chains stand; figures are taken over the sweeps after the first `burn`."""
        chains, kept = self.chains, self.logprob_history[:, self.burn_in_sweeps :]
        now, (agreement, effective) = chains.current, mixing_diagnostics(kept)
        figures = {
            "acceptance": float(np.mean(self.acceptance_history)) if self.acceptance_history.size else float("nan"),
            "r_hat": agreement,
            "sweeps": float(self.logprob_history.shape[1]),
        }
        return WeightedSamples(
            sequences=now.buffer.to_sequences(),
            slots=chains.current_slots,
            finish_reasons=now.buffer.finish_reasons(),
            log_weight=np.where(chains.allowed_mask, 0.0, -np.inf),
            logprob=now.total_logprob,
            selected_index=self.selected_index,
            log_z=self.estimate_log_z(),
            ess=effective,
            tokens_spent=chains.tokens_spent,
            diagnostics=figures,
        )

    def estimate_log_z(self) -> Estimate | None:
        """log Z of the target by Bennett's ratio, between draws from the proposal and what the chains visited.

        Its error is the jackknife's over chains. None where chains grew by blocks, or some have not found an answer
        that the target allows.
        """
        visited = self.log_weight_history[:, self.burn_in_sweeps :]
        if not visited.size or not self.initial_log_weights.size or not np.isfinite(visited).all():
            return None
        try:
            gains = np.concatenate([self.initial_log_weights[None], visited.T])
            return replace(bar(self.initial_log_weights, visited.ravel()), stderr=jackknife(_bridge_log_z, gains))
        except Unreliable:
            return None


@dataclass(frozen=True)
class Metropolis(SequenceSampler[MetropolisState]):
    """`chains` chains of `sweeps` drafts each, the first `burn` share of which is forgotten.

    With a `block` answers grow by so many tokens at a time, with `sweeps` drafts at each length (Karan and Du 2025,
    algorithm 1); otherwise they are whole from the first draft on.
    """

    target: Target = field(default_factory=lambda: Target(power=4.0))
    chains: int = 8
    sweeps: int = 16
    burn: float = 0.5
    block: int | None = None

    def __post_init__(self) -> None:
        validate_at_least(self.chains, 1, "chains")
        validate_at_least(self.sweeps, 1, "sweeps")
        validate_burn(self.burn)
        if self.block is not None:
            validate_at_least(self.block, 1, "block")

    def init(self, task: Task) -> MetropolisState:
        require_single_prompt(task, "Metropolis")
        limit = min(self.block or task.max_tokens, task.max_tokens)
        none = np.empty((self.chains, 0))
        chains = MetropolisChains.start(task, self.target, np.ones(self.chains), limit)
        return MetropolisState(chains, self.sweeps, int(self.burn * self.sweeps), none, none, none, np.empty(0))

    def pending(self, state: MetropolisState) -> Session | None:
        return state.chains.pending

    def max_rows(self, prompts: int) -> int:
        return self.chains

    def step(self, rng: Random, state: MetropolisState, energies: Any) -> tuple[MetropolisState, SequenceStep]:
        chains = state.chains
        starting = chains.is_idle and not chains.has_sequences
        if chains.is_idle and (starting or self._is_length_finished(state)):
            chains = chains if starting else self._extend_max_length(chains)
            chains, move = advance(chains, rng, energies, chains.current.buffer.lengths)
            state = replace(
                state, logprob_history=state.logprob_history[:, :0], log_weight_history=state.log_weight_history[:, :0]
            )
        else:
            chains, move = advance(chains, rng, energies)
        state = replace(state, chains=chains)
        if not chains.is_idle:
            return state, move
        return self._append_history(state, rng), move

    def _is_length_finished(self, state: MetropolisState) -> bool:
        """Whether all sweeps at this length are done."""
        return bool(state.logprob_history.shape[1] == self.sweeps)

    def _extend_max_length(self, chains: MetropolisChains) -> MetropolisChains:
        return replace(
            chains, max_length=min(chains.max_length + (self.block or 0), chains.rollout_sampler.task.max_tokens)
        )

    def _append_history(self, state: MetropolisState, rng: Random) -> MetropolisState:
        chains = state.chains
        if chains.is_forced:
            whole = chains.max_length == chains.rollout_sampler.task.max_tokens and not state.acceptance_history.size
            return replace(state, initial_log_weights=chains.current.log_weight if whole else state.initial_log_weights)
        noted = replace(
            state,
            logprob_history=np.column_stack([state.logprob_history, chains.current.total_logprob]),
            log_weight_history=np.column_stack([state.log_weight_history, chains.current.log_weight]),
            acceptance_history=np.column_stack(
                [state.acceptance_history, np.asarray(chains.accepted_mask, np.float64)]
            ),
        )
        if not self._is_length_finished(noted) or chains.max_length < chains.rollout_sampler.task.max_tokens:
            return noted
        return replace(noted, selected_index=select(chains, np.arange(chains.num_chains), rng))


def _bridge_log_z(log_weights: Floats) -> float:
    """log Z from the gain of each chain's first answer and those it went on to, (1 + S, C)."""
    return bar(log_weights[0], log_weights[1:].ravel()).value
