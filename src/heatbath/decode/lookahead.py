r"""Power sampling by looking ahead (arXiv:2601.21590): a token is weighed by what sampled continuations promise.

With $\zeta(v) = E_{suffix \sim q}[\pi(suffix | v) / q(suffix)]$ the next block has the law
$\propto \pi(v)\,\zeta(v)$, which is the marginal of the target. $\zeta$ is estimated from a few rollouts, and the
probabilities of the candidates from it by the jackknife, $M \hat p - \frac{M-1}{M}\sum_s \hat p_{-s}$, which takes
their bias from O(1/M) to O(1/M^2). What bias is left the weights undo: the chance of a candidate is known, so the
answers are properly weighted for the target whatever the rollouts said.
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
    SequenceSampler,
    SequenceStep,
    WeightedSamples,
    require_single_prompt,
    validate_at_least,
)
from heatbath.decode.target import Target
from heatbath.errors import BadInput
from heatbath.estimate.bridge import log_mean
from heatbath.estimate.population_diagnostics import independence_acceptance, weighted_r_hat
from heatbath.estimate.resample import ess
from heatbath.models.base import Session

_MIN_PROBABILITY_SHARE = 1e-3


@dataclass(frozen=True)
class LookaheadState:
    """n answers in slots `home` (n,), and what is being tried for their next block.

    `candidates` are n K beginnings in slots n + i K + k; `rollouts` are n K M continuations of them, in no slot.
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
        """The answers with their weights; the value is drawn by weight."""
        now, weight = self.current, self.log_weight
        groups = min(4, len(weight) // 2)
        cut = len(weight) - len(weight) % max(groups, 1)
        alive = bool(np.isfinite(weight).any())
        figures = {
            "acceptance": independence_acceptance(weight) if alive else 0.0,
            "r_hat": _grouped_r_hat(now.total_logprob[:cut], weight[:cut], groups),
        }
        return WeightedSamples(
            sequences=now.buffer.to_sequences(),
            slots=self.current_slots,
            finish_reasons=now.buffer.finish_reasons(),
            log_weight=weight,
            logprob=now.total_logprob,
            selected_index=self.selected_index,
            log_z=log_mean(weight),
            ess=ess(weight) if alive else 0.0,
            tokens_spent=self.tokens_spent,
            diagnostics=figures,
        )


@dataclass(frozen=True)
class Lookahead(SequenceSampler[LookaheadState]):
    """`n` answers; each next `block` of tokens is one of `candidates`, judged by `rollouts` of up to `horizon` tokens.

    Candidates are drawn from the target's proposal rather than taken from the top, so that nothing is cut off. A block
    of `block` tokens spends up to candidates x (block + rollouts x horizon) of them. Without the `jackknife` the plain
    estimate chooses. No candidate's chance is taken to be less than a thousandth of an even share.
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
        drawing, ahead = (
            RolloutSampler.from_task(task, self.target),
            RolloutSampler.from_task(task, with_model_proposal(self.target)),
        )
        answer = ScoredSequences.empty(self.n, task.max_tokens)
        return LookaheadState(
            drawing, ahead, answer, np.arange(self.n), np.zeros(self.n), self.candidates, self.rollouts
        )

    def pending(self, state: LookaheadState) -> Session | None:
        """The session of the candidates, then that of their rollouts; none where candidates are to begin."""
        if state.candidates is None:
            return None
        return state.candidates.session if state.rollouts is None else state.rollouts.session

    def max_rows(self, prompts: int) -> int:
        return self.n * self.candidates * self.rollouts

    def step(self, rng: Random, state: LookaheadState, energies: Any) -> tuple[LookaheadState, SequenceStep]:
        if state.candidates is None:
            return self._start_candidates(state)
        if state.rollouts is None:
            return self._extend_candidates(rng, state, energies)
        return self._extend_rollouts(rng, state, energies)

    def _start_candidates(self, state: LookaheadState) -> tuple[LookaheadState, SequenceStep]:
        """Candidates that are copies of the sequences so far."""
        sources = np.repeat(np.arange(self.n), self.candidates)
        lengths = state.current.buffer.lengths
        begun = state.current.copy_prefixes(sources)
        candidates = state.rollout_sampler.start_rollout(
            begun, np.minimum(lengths[sources] + self.block, self._max_tokens(state))
        )
        moves = np.concatenate([state.current_slots, state.current_slots[sources]])
        state = replace(state, candidates=candidates, current_slots=np.arange(self.n))
        return state, SequenceStep.copies(moves, np.concatenate([lengths, lengths[sources]]))

    def _extend_candidates(
        self, rng: Random, state: LookaheadState, energies: Any
    ) -> tuple[LookaheadState, SequenceStep]:
        """One token more for every open candidate; when they are done their rollouts begin."""
        candidates = state.candidates
        assert candidates is not None
        slots = candidates.open_slots
        grown, step = state.rollout_sampler.extend_rollout(candidates, rng, energies)
        state = replace(state, candidates=grown, tokens_spent=state.tokens_spent + len(slots))
        if grown.is_finished:
            state = self._start_rollouts(rng, state, grown.sequences)
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
        """One token more for every open rollout; when they are done a candidate is chosen."""
        candidates, rollouts = state.candidates, state.rollouts
        assert candidates is not None and rollouts is not None
        spent = state.tokens_spent + len(rollouts.open_slots)
        grown, _ = state.lookahead_sampler.extend_rollout(rollouts, rng, energies)
        state = replace(state, rollouts=grown, tokens_spent=spent)
        if grown.is_finished:
            state = self._choose_candidates(rng, state, candidates.sequences, grown)
        return state, SequenceStep.copies()

    def _choose_candidates(
        self, rng: Random, state: LookaheadState, sequences: ScoredSequences, rollouts: Rollout
    ) -> LookaheadState:
        shape = (self.n, self.candidates)
        gain = _log_weight_change(sequences.log_weight, np.repeat(state.current.log_weight, self.candidates)).reshape(
            shape
        )
        # What the rollouts gained on their candidates, with the candidate's own taken off.
        promise = _log_weight_change(rollouts.sequences.log_weight, np.repeat(sequences.log_weight, self.rollouts))
        promise = promise.reshape(*shape, self.rollouts)
        chances = self._candidate_probabilities(gain, promise)
        picked = np.asarray([rng.choose_index(row) for row in chances], np.int64)
        at = np.arange(self.n)
        rise = gain[at, picked] - np.log(self.candidates) - np.log(chances[at, picked])
        moving = ~state.current.buffer.finished_mask
        flat = at * self.candidates + picked
        state = replace(
            state,
            current=sequences.copy_prefixes(flat),
            current_slots=self.n + flat,
            log_weight=state.log_weight + np.where(moving, rise, 0.0),
            candidates=None,
            rollouts=None,
        )
        if not np.isfinite(state.log_weight).any():
            raise BadInput(
                f"at token {int(state.current.buffer.lengths.max())} every answer is forbidden by "
                f"{self.target.constraint_names}: ask for more answers or candidates, or for less."
            )
        if not state.is_finished:
            return state
        share = np.exp(state.log_weight - logsumexp(state.log_weight))
        return replace(state, selected_index=rng.choose_index(share))

    def _candidate_probabilities(self, gain: Floats, rollout_gain: Floats) -> Floats:
        """The chance (n, K) of each candidate, from its own gain (n, K) and those of its rollouts (n, K, M)."""
        plain = _candidate_shares(gain, rollout_gain)
        if self.jackknife and self.rollouts > 1:
            without = [_candidate_shares(gain, np.delete(rollout_gain, m, axis=2)) for m in range(self.rollouts)]
            plain = self.rollouts * plain - (self.rollouts - 1) * np.mean(without, axis=0)
        floored = np.maximum(plain, _MIN_PROBABILITY_SHARE / self.candidates)
        return np.asarray(floored / floored.sum(1, keepdims=True))

    def _max_tokens(self, state: LookaheadState) -> int:
        return state.rollout_sampler.task.max_tokens


def _log_weight_change(after: Floats, before: Floats) -> Floats:
    """Log-weights' change; what was forbidden already stays so."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(np.isneginf(before), -np.inf, after - before))


def _candidate_shares(gain: Floats, rollout_gain: Floats) -> Floats:
    """Shares (n, K) by gain and mean promise; even ones where every candidate is forbidden."""
    score = gain + logsumexp(rollout_gain, axis=2)
    dead = np.isneginf(score).all(1, keepdims=True)
    score = np.where(dead, 0.0, score)
    return np.asarray(np.exp(score - logsumexp(score, axis=1, keepdims=True)))


def _grouped_r_hat(values: Floats, weights: Floats, groups: int) -> float:
    if groups < 2 or not np.isfinite(weights.reshape(groups, -1).max(1)).all():
        return float("nan")
    return weighted_r_hat(values.reshape(groups, -1), weights.reshape(groups, -1))
