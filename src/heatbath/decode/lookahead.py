r"""Power sampling with lookahead (arXiv:2601.21590): blocks of tokens are weighed by sampled continuations.

With $\zeta(v) = E_{suffix \sim q}[\pi(suffix | v) / q(suffix)]$ the distribution of the next block is
$\propto \pi(v)\,\zeta(v)$, the marginal of the target. $\zeta$ is estimated from a few rollouts, and the probabilities
of the candidates from it by the jackknife, $M \hat p - \frac{M-1}{M}\sum_s \hat p_{-s}$, which reduces their bias from
O(1/M) to O(1/M^2). The weights correct the remaining bias: the probability of the chosen candidate is known, so the
sequences are properly weighted for the target with any rollouts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import logsumexp

from heatbath.decode.anneal import with_model_proposal
from heatbath.decode.base import Floats, Ints, Task
from heatbath.decode.rng import Random
from heatbath.decode.rollout import Rollout, RolloutSampler, ScoredSequences
from heatbath.decode.sequences import (
    SamplerState,
    SequenceSampler,
    SequenceStep,
    WeightedSamples,
    require_single_prompt,
    validate_at_least,
)
from heatbath.decode.target import Target
from heatbath.errors import BadInput
from heatbath.estimate.bridge import log_mean
from heatbath.estimate.convergence import find_population_fault
from heatbath.estimate.population_diagnostics import independence_acceptance, weighted_r_hat
from heatbath.estimate.resample import ess
from heatbath.models.base import Session

_MIN_PROBABILITY_SHARE = 1e-3


@dataclass(frozen=True)
class LookaheadState(SamplerState):
    """n sequences in `current_slots` (n,), and the candidates for their next block.

    `candidates` are n K extensions in slots n + i K + k; `rollouts` are n K M continuations of them, without slots.
    """

    rollout_sampler: RolloutSampler
    lookahead_sampler: RolloutSampler
    current: ScoredSequences
    current_slots: Ints
    log_weight: Floats
    candidates_per_row: int
    rollouts_per_candidate: int
    tokens_spent: int = 0
    candidates: Rollout | None = None
    rollouts: Rollout | None = None
    selected_index: int = 0

    @property
    def num_slots(self) -> int:
        return len(self.current_slots) * (1 + self.candidates_per_row)

    @property
    def num_streams(self) -> int:
        return len(self.current_slots) * self.candidates_per_row * self.rollouts_per_candidate

    @property
    def is_finished(self) -> bool:
        return self.candidates is None and bool(self.current.buffer.finished_mask.all())

    def samples(self) -> WeightedSamples:
        """Return the sequences with their weights; the selected sequence is drawn by weight."""
        current, weight = self.current, self.log_weight
        groups = min(4, len(weight) // 2)
        size = len(weight) - len(weight) % max(groups, 1)
        alive = bool(np.isfinite(weight).any())
        figures = {
            "acceptance": independence_acceptance(weight) if alive else 0.0,
            "r_hat": _grouped_r_hat(current.total_logprob[:size], weight[:size], groups),
        }
        log_z, effective = log_mean(weight), ess(weight) if alive else 0.0
        return WeightedSamples(
            sequences=current.buffer.to_sequences(),
            slots=self.current_slots,
            finish_reasons=current.buffer.finish_reasons(),
            log_weight=weight,
            logprob=current.total_logprob,
            selected_index=self.selected_index,
            log_z=log_z,
            ess=effective,
            tokens_spent=self.tokens_spent,
            diagnostics=figures,
            unreliable_reason=find_population_fault(log_z, effective),
        )


@dataclass(frozen=True)
class Lookahead(SequenceSampler[LookaheadState]):
    """Draw `n` sequences; each `block` of tokens is chosen from `candidates`, scored by `rollouts` of `horizon` tokens.

    Candidates are drawn from the target's proposal, not the most probable ones, so no sequence is excluded. A block
    spends up to candidates x (block + rollouts x horizon) tokens. Without the `jackknife` the plain estimate is used.
    The probability of each candidate is at least a thousandth of the uniform one.
    """

    target: Target = field(default_factory=lambda: Target(power=4.0))
    n: int = 8
    candidates: int = 4
    rollouts: int = 4
    horizon: int = 16
    block: int = 16
    jackknife: bool = True

    def __post_init__(self) -> None:
        for name in ("n", "candidates", "rollouts", "horizon", "block"):
            validate_at_least(getattr(self, name), 1, name)

    def init(self, task: Task) -> LookaheadState:
        require_single_prompt(task, "look-ahead")
        return LookaheadState(
            rollout_sampler=RolloutSampler.from_task(task, self.target),
            lookahead_sampler=RolloutSampler.from_task(task, with_model_proposal(self.target)),
            current=ScoredSequences.empty(self.n, task.max_tokens),
            current_slots=np.arange(self.n),
            log_weight=np.zeros(self.n),
            candidates_per_row=self.candidates,
            rollouts_per_candidate=self.rollouts,
        )

    def pending(self, state: LookaheadState) -> Session | None:
        """Return the session of the candidates, then that of their rollouts; None where candidates must be started."""
        if state.candidates is None:
            return None
        return state.candidates.session if state.rollouts is None else state.rollouts.session

    def max_rows(self, prompts: int) -> int:
        return self.n * self.candidates * self.rollouts

    def max_tokens_drawn(self, prompts: int, max_tokens: int) -> int:
        block, horizon = min(self.block, max_tokens), min(self.horizon, max_tokens)
        return self.n * -(-max_tokens // block) * self.candidates * (block + self.rollouts * horizon)

    def step(self, rng: Random, state: LookaheadState, energies: Any) -> tuple[LookaheadState, SequenceStep]:
        if state.candidates is None:
            return self._start_candidates(state)
        if state.rollouts is None:
            return self._extend_candidates(rng, state, energies)
        return self._extend_rollouts(rng, state, energies)

    def _start_candidates(self, state: LookaheadState) -> tuple[LookaheadState, SequenceStep]:
        """Start candidates as copies of the current sequences."""
        sources = np.repeat(np.arange(self.n), self.candidates)
        lengths = state.current.buffer.lengths
        prefixes = state.current.copy_prefixes(sources)
        limits = np.minimum(lengths[sources] + self.block, self._max_tokens(state))
        candidates = state.rollout_sampler.start_rollout(prefixes, limits)
        moves = np.concatenate([state.current_slots, state.current_slots[sources]])
        state = replace(state, candidates=candidates, current_slots=np.arange(self.n))
        return state, SequenceStep.copies(moves, np.concatenate([lengths, lengths[sources]]))

    def _extend_candidates(
        self, rng: Random, state: LookaheadState, energies: Any
    ) -> tuple[LookaheadState, SequenceStep]:
        """Draw one more token for every open candidate; when all have ended, start their rollouts."""
        candidates = state.candidates
        assert candidates is not None
        slots = candidates.open_slots
        candidates, step = state.rollout_sampler.extend_rollout(candidates, rng, energies)
        state = replace(state, candidates=candidates, tokens_spent=state.tokens_spent + len(slots))
        if candidates.is_finished:
            state = self._start_rollouts(rng, state, candidates.sequences)
        return state, SequenceStep(slots + self.n, step)

    def _start_rollouts(self, rng: Random, state: LookaheadState, sequences: ScoredSequences) -> LookaheadState:
        repeated = sequences.copy_prefixes(np.repeat(np.arange(len(sequences.energy)), self.rollouts))
        limits = np.minimum(repeated.buffer.lengths + self.horizon, self._max_tokens(state))
        rollouts = state.lookahead_sampler.start_rollout(repeated, limits)
        state = replace(state, rollouts=rollouts)
        return self._choose_candidates(rng, state, sequences, rollouts) if rollouts.is_finished else state

    def _extend_rollouts(
        self, rng: Random, state: LookaheadState, energies: Any
    ) -> tuple[LookaheadState, SequenceStep]:
        """Draw one more token for every open rollout; when all have ended, choose the candidates."""
        candidates, rollouts = state.candidates, state.rollouts
        assert candidates is not None and rollouts is not None
        spent = state.tokens_spent + len(rollouts.open_slots)
        rollouts, _ = state.lookahead_sampler.extend_rollout(rollouts, rng, energies)
        state = replace(state, rollouts=rollouts, tokens_spent=spent)
        if rollouts.is_finished:
            state = self._choose_candidates(rng, state, candidates.sequences, rollouts)
        return state, SequenceStep.copies()

    def _choose_candidates(
        self, rng: Random, state: LookaheadState, sequences: ScoredSequences, rollouts: Rollout
    ) -> LookaheadState:
        shape = (self.n, self.candidates)
        gain = _log_weight_change(sequences.log_weight, np.repeat(state.current.log_weight, self.candidates)).reshape(
            shape
        )
        # The log-weights of the rollouts without those of their candidates.
        rollout_gain = _log_weight_change(rollouts.sequences.log_weight, np.repeat(sequences.log_weight, self.rollouts))
        probabilities = self._candidate_probabilities(gain, rollout_gain.reshape(*shape, self.rollouts))
        choices = np.asarray([rng.choose_index(row) for row in probabilities], np.int64)
        rows = np.arange(self.n)
        increment = gain[rows, choices] - np.log(self.candidates) - np.log(probabilities[rows, choices])
        is_open = ~state.current.buffer.finished_mask
        flat = rows * self.candidates + choices
        state = replace(
            state,
            current=sequences.copy_prefixes(flat),
            current_slots=self.n + flat,
            log_weight=state.log_weight + np.where(is_open, increment, 0.0),
            candidates=None,
            rollouts=None,
        )
        if not np.isfinite(state.log_weight).any():
            raise BadInput(
                f"at token {int(state.current.buffer.lengths.max())} every sequence is forbidden by "
                f"{self.target.constraint_names}: increase `n` or `candidates`, or relax the constraint."
            )
        if not state.is_finished:
            return state
        weights = np.exp(state.log_weight - logsumexp(state.log_weight))
        return replace(state, selected_index=rng.choose_index(weights))

    def _candidate_probabilities(self, gain: Floats, rollout_gain: Floats) -> Floats:
        """Return the probability (n, K) of each candidate, from its gain (n, K) and those of its rollouts (n, K, M)."""
        plain = _candidate_shares(gain, rollout_gain)
        if self.jackknife and self.rollouts > 1:
            leave_one_out = [_candidate_shares(gain, np.delete(rollout_gain, m, axis=2)) for m in range(self.rollouts)]
            plain = self.rollouts * plain - (self.rollouts - 1) * np.mean(leave_one_out, axis=0)
        floored = np.maximum(plain, _MIN_PROBABILITY_SHARE / self.candidates)
        return np.asarray(floored / floored.sum(1, keepdims=True))

    def _max_tokens(self, state: LookaheadState) -> int:
        return state.rollout_sampler.task.max_tokens


def _log_weight_change(after: Floats, before: Floats) -> Floats:
    """Return the change of log-weights; -inf where the sequence was forbidden before."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(np.isneginf(before), -np.inf, after - before))


def _candidate_shares(gain: Floats, rollout_gain: Floats) -> Floats:
    """Return shares (n, K) by gain and mean rollout gain; uniform where every candidate is forbidden."""
    score = gain + logsumexp(rollout_gain, axis=2)
    dead = np.isneginf(score).all(1, keepdims=True)
    score = np.where(dead, 0.0, score)
    return np.asarray(np.exp(score - logsumexp(score, axis=1, keepdims=True)))


def _grouped_r_hat(values: Floats, weights: Floats, groups: int) -> float:
    if groups < 2 or not np.isfinite(weights.reshape(groups, -1).max(1)).all():
        return float("nan")
    return weighted_r_hat(values.reshape(groups, -1), weights.reshape(groups, -1))
