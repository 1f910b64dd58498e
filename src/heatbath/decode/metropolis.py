"""Metropolis-Hastings over sequences, for power sampling and constraints; many chains in one batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from heatbath.decode.base import Floats, Task
from heatbath.decode.metropolis_kernel import ChainState, MetropolisChains, advance_chains, select_chain
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
from heatbath.estimate.convergence import (
    ChainConvergence,
    assess_chains,
    autocorrelated_bridge_error,
    find_forbidden_chain,
)
from heatbath.estimate.estimate import Estimate
from heatbath.estimate.mcmc_diagnostics import jackknife
from heatbath.models.base import Session


@dataclass(frozen=True)
class MetropolisState(ChainState):
    """Chains with their history over sweeps: log p_T, log-weights and acceptances, (C, S) each.

    `initial_log_weights` (C,) are those of the sequences that were drawn from the proposal first, empty with blocks.
    """

    sweeps: int
    burn_in_sweeps: int
    logprob_history: Floats
    log_weight_history: Floats
    acceptance_history: Floats
    initial_log_weights: Floats
    selected_index: int = 0

    @property
    def is_finished(self) -> bool:
        at_length = self.chains.max_length == self.chains.rollout_sampler.task.max_tokens
        return bool(at_length and self.logprob_history.shape[1] == self.sweeps and self.chains.is_idle)

    def samples(self) -> WeightedSamples:
        """Return the current sequences; diagnostics are over the sweeps after `burn_in_sweeps`."""
        chains, current = self.chains, self.chains.current
        convergence = self._assess_convergence()
        figures = {
            "acceptance": float(np.mean(self.acceptance_history)) if self.acceptance_history.size else float("nan"),
            "r_hat": convergence.r_hat,
            "sweeps": float(self.logprob_history.shape[1]),
        }
        return WeightedSamples(
            sequences=current.buffer.to_sequences(),
            slots=chains.current_slots,
            finish_reasons=current.buffer.finish_reasons(),
            log_weight=np.where(chains.allowed_mask, 0.0, -np.inf),
            logprob=current.total_logprob,
            selected_index=self.selected_index,
            log_z=self.estimate_log_z(),
            ess=convergence.ess,
            tokens_spent=chains.tokens_spent,
            diagnostics=figures,
            unreliable_reason=convergence.reason,
        )

    def _assess_convergence(self) -> ChainConvergence:
        """Assess the chains by log p_T, and by the log-weights where no chain is on a forbidden sequence."""
        logprob, log_weight = (
            history[:, self.burn_in_sweeps :] for history in (self.logprob_history, self.log_weight_history)
        )
        forbidden = find_forbidden_chain(log_weight)
        accepted = self.acceptance_history[:, self.acceptance_history.shape[1] - logprob.shape[1] :]
        convergence = assess_chains([logprob] if forbidden else [logprob, log_weight], accepted)
        return replace(convergence, reason=forbidden or convergence.reason)

    def estimate_log_z(self) -> Estimate | None:
        """Estimate log Z of the target by Bennett's ratio between draws from the proposal and the visited sequences.

        The error is the larger of a jackknife over chains and of the asymptotic one with the autocorrelation of the
        chains. None where chains grow by blocks, or where a chain has not found a
        sequence that the target allows.
        """
        visited = self.log_weight_history[:, self.burn_in_sweeps :]
        if not visited.size or not self.initial_log_weights.size or not np.isfinite(visited).all():
            return None
        try:
            log_weights = np.concatenate([self.initial_log_weights[None], visited.T])
            estimate = bar(self.initial_log_weights, visited.ravel())
            errors = (
                jackknife(_bridge_log_z, log_weights),
                autocorrelated_bridge_error(estimate, self.initial_log_weights, visited),
            )
            return replace(estimate, stderr=float(np.fmax(*errors)))
        except Unreliable:
            return None


@dataclass(frozen=True)
class Metropolis(SequenceSampler[MetropolisState]):
    """Run `chains` chains for `sweeps` proposals each; the first share `burn` of them is discarded.

    With a `block`, sequences grow by that many tokens at a time, with `sweeps` proposals at each length (Karan and
    Du 2025, algorithm 1); otherwise they have the greatest length from the first proposal on.
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

    def max_tokens_drawn(self, prompts: int, max_tokens: int) -> int:
        lengths = -(-max_tokens // self.block) if self.block else 1
        return self.chains * max_tokens * (1 + lengths * self.sweeps)

    def step(self, rng: Random, state: MetropolisState, energies: Any) -> tuple[MetropolisState, SequenceStep]:
        chains = state.chains
        starting = chains.is_idle and not chains.has_sequences
        if chains.is_idle and (starting or self._is_length_finished(state)):
            chains = chains if starting else self._extend_max_length(chains)
            chains, change = advance_chains(chains, rng, energies, chains.current.buffer.lengths)
            state = replace(
                state, logprob_history=state.logprob_history[:, :0], log_weight_history=state.log_weight_history[:, :0]
            )
        else:
            chains, change = advance_chains(chains, rng, energies)
        state = replace(state, chains=chains)
        if not chains.is_idle:
            return state, change
        return self._append_history(state, rng), change

    def _is_length_finished(self, state: MetropolisState) -> bool:
        """Test whether all sweeps at the present length are done."""
        return bool(state.logprob_history.shape[1] == self.sweeps)

    def _extend_max_length(self, chains: MetropolisChains) -> MetropolisChains:
        return replace(
            chains, max_length=min(chains.max_length + (self.block or 0), chains.rollout_sampler.task.max_tokens)
        )

    def _append_history(self, state: MetropolisState, rng: Random) -> MetropolisState:
        chains = state.chains
        if chains.is_forced:
            is_first = not state.acceptance_history.size
            if is_first and chains.max_length == chains.rollout_sampler.task.max_tokens:
                return replace(state, initial_log_weights=chains.current.log_weight)
            return state
        state = replace(
            state,
            logprob_history=np.column_stack([state.logprob_history, chains.current.total_logprob]),
            log_weight_history=np.column_stack([state.log_weight_history, chains.current.log_weight]),
            acceptance_history=np.column_stack(
                [state.acceptance_history, np.asarray(chains.accepted_mask, np.float64)]
            ),
        )
        if not self._is_length_finished(state) or chains.max_length < chains.rollout_sampler.task.max_tokens:
            return state
        return replace(state, selected_index=select_chain(chains, np.arange(chains.num_chains), rng))


def _bridge_log_z(log_weights: Floats) -> float:
    """Return log Z from the log-weights of each chain's first sequence and of those it visited, (1 + S, C)."""
    return bar(log_weights[0], log_weights[1:].ravel()).value
