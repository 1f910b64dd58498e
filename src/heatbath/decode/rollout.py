"""Roll out continuations and accumulate their importance weights, for samplers that draw, weigh and choose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heatbath.decode.base import Batch, Floats, Ints, Step, Task, TokenSampler
from heatbath.decode.potential_scorer import PotentialScorer
from heatbath.decode.rng import Random
from heatbath.decode.sequences import Bools, TokenBuffer
from heatbath.decode.target import Target
from heatbath.models.base import Session


@dataclass(frozen=True)
class ScoredSequences:
    """N sequences: their `sheet`, per token (N, L) the gain log target - log q and log p_T, their potentials (N,)."""

    buffer: TokenBuffer
    token_log_weights: Floats
    token_logprobs: Floats
    energy: Floats

    @classmethod
    def empty(cls, count: int, length: int) -> ScoredSequences:
        """Sequences without a token."""
        zeros = np.zeros((count, length))
        return cls(TokenBuffer.empty(count, length), zeros, zeros, np.zeros(count))

    @property
    def log_weight(self) -> Floats:
        r"""$w(x) = \log \pi(x) - \log q(x)$, (N,)."""
        return self._sum_over_tokens(self.token_log_weights) - self.energy

    @property
    def total_logprob(self) -> Floats:
        """log p_T of the sequences, (N,)."""
        return self._sum_over_tokens(self.token_logprobs)

    def copy_prefixes(self, sources: Ints, lengths: Ints | None = None) -> ScoredSequences:
        """Slot i with the first `lengths[i]` tokens of slot `sources[i]`."""
        sheet = self.buffer.copy_prefixes(sources, lengths)
        return ScoredSequences(
            sheet, self.token_log_weights[sources], self.token_logprobs[sources], self.energy[sources]
        )

    def merge_where(self, mask: Bools, other: ScoredSequences) -> ScoredSequences:
        """Slots of `other` where `mask` (N,), of this one elsewhere."""
        wide = mask[:, None]
        sheet = TokenBuffer(
            np.where(wide, other.buffer.tokens, self.buffer.tokens),
            np.where(mask, other.buffer.lengths, self.buffer.lengths),
            np.where(mask, other.buffer.stopped_mask, self.buffer.stopped_mask),
        )
        gain, logprob = (
            np.where(wide, other.token_log_weights, self.token_log_weights),
            np.where(wide, other.token_logprobs, self.token_logprobs),
        )
        return ScoredSequences(sheet, gain, logprob, np.where(mask, other.energy, self.energy))

    def _sum_over_tokens(self, values: Floats) -> Floats:
        used = np.arange(values.shape[1]) < self.buffer.lengths[:, None]
        return np.asarray(np.where(used, values, 0.0).sum(1))


@dataclass(frozen=True)
class Rollout:
    """Sequences of which those `open` (A,) are rows of `batch`; each grows until it ends or has `limits` tokens."""

    sequences: ScoredSequences
    length_limits: Ints
    open_slots: Ints
    batch: Batch | None

    @property
    def is_finished(self) -> bool:
        return self.batch is None

    @property
    def session(self) -> Session | None:
        """The session whose energies the next tokens need."""
        return None if self.batch is None else self.batch.session


@dataclass(frozen=True)
class RolloutSampler:
    """Where sequences come from: the task, the distribution they are weighed by, and what draws their tokens."""

    task: Task
    target: Target
    sampler: TokenSampler
    scorer: PotentialScorer

    @classmethod
    def from_task(cls, task: Task, target: Target) -> RolloutSampler:
        """With the target's own proposal."""
        return cls(task, target, target.proposal_sampler, PotentialScorer.from_task(target.potentials, task))

    def start_rollout(self, sequences: ScoredSequences, length_limits: Ints) -> Rollout:
        """Open every sequence that has not ended and has fewer than `limits` (N,) tokens."""
        rows = np.flatnonzero(~_find_full(sequences.buffer, length_limits))
        batch = None
        if len(rows):
            batch = self.sampler.init(replace(self.task, prefixes=sequences.buffer.to_sequences(rows)))
            batch = replace(batch, row_ids=self.task.first_row + rows)
        return Rollout(sequences, length_limits, rows, batch)

    def extend_rollout(self, rollout: Rollout, rng: Random, energies: Any) -> tuple[Rollout, Step]:
        """One token more for every open sequence. `rng` has a row for each sequence."""
        rows, answer = rollout.open_slots, rollout.sequences
        assert rollout.batch is not None
        batch, step = self.sampler.step(rng.for_rows(rows.tolist()), rollout.batch, energies)
        scores = self.target.score_step(batch, step)
        at = answer.buffer.lengths[rows]
        gain, logprob, energy = answer.token_log_weights.copy(), answer.token_logprobs.copy(), answer.energy.copy()
        gain[rows, at] = self.target.power * scores.model_logprob - scores.field_energy - scores.proposal_logprob
        logprob[rows, at] = scores.model_logprob
        sheet = answer.buffer.append_tokens(rows, step.tokens, batch.stop_token_ids)
        full = _find_full(sheet, rollout.length_limits)[rows]
        if full.any():
            energy[rows[full]] = self.scorer(sheet.to_sequences(rows[full]), sheet.finished_mask[rows[full]])
        batch = batch.advance_rows(np.flatnonzero(~full))
        grown = ScoredSequences(sheet, gain, logprob, energy)
        return Rollout(grown, rollout.length_limits, rows[~full], None if full.all() else batch), step


def _find_full(buffer: TokenBuffer, length_limits: Ints) -> Bools:
    return buffer.stopped_mask | (buffer.lengths >= length_limits)
