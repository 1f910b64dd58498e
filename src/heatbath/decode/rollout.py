"""Rollouts of sequences with their importance weights, for samplers that propose sequences and select among them."""

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
    """N sequences with their scores.

    Attributes:
        buffer: the tokens.
        token_log_weights: log target - log q of each token, (N, L).
        token_logprobs: log p_T of each token, (N, L).
        energy: total energy of the potentials, (N,).
    """

    buffer: TokenBuffer
    token_log_weights: Floats
    token_logprobs: Floats
    energy: Floats

    @classmethod
    def empty(cls, count: int, length: int) -> ScoredSequences:
        """Return empty sequences."""
        zeros = np.zeros((count, length))
        return cls(TokenBuffer.empty(count, length), zeros, zeros, np.zeros(count))

    @property
    def log_weight(self) -> Floats:
        r"""$w(x) = \log \pi(x) - \log q(x)$, (N,)."""
        return self._sum_over_tokens(self.token_log_weights) - self.energy

    @property
    def total_logprob(self) -> Floats:
        """Total log p_T of the sequences, (N,)."""
        return self._sum_over_tokens(self.token_logprobs)

    def copy_prefixes(self, sources: Ints, lengths: Ints | None = None) -> ScoredSequences:
        """Return sequences whose slot i has the first `lengths[i]` tokens of slot `sources[i]`."""
        buffer = self.buffer.copy_prefixes(sources, lengths)
        return ScoredSequences(
            buffer, self.token_log_weights[sources], self.token_logprobs[sources], self.energy[sources]
        )

    def merge_where(self, mask: Bools, other: ScoredSequences) -> ScoredSequences:
        """Return the slots of `other` where `mask` (N,), and of this one elsewhere."""
        columns = mask[:, None]
        buffer = TokenBuffer(
            np.where(columns, other.buffer.tokens, self.buffer.tokens),
            np.where(mask, other.buffer.lengths, self.buffer.lengths),
            np.where(mask, other.buffer.stopped_mask, self.buffer.stopped_mask),
        )
        log_weights = np.where(columns, other.token_log_weights, self.token_log_weights)
        logprobs = np.where(columns, other.token_logprobs, self.token_logprobs)
        return ScoredSequences(buffer, log_weights, logprobs, np.where(mask, other.energy, self.energy))

    def _sum_over_tokens(self, values: Floats) -> Floats:
        used = np.arange(values.shape[1]) < self.buffer.lengths[:, None]
        return np.asarray(np.where(used, values, 0.0).sum(1))


@dataclass(frozen=True)
class Rollout:
    """Sequences that grow until they end or have `length_limits` (N,) tokens; `open_slots` (A,) are rows of `batch`."""

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
    """A source of scored sequences: the task, the target of the weights, the token sampler and the potentials."""

    task: Task
    target: Target
    sampler: TokenSampler
    scorer: PotentialScorer

    @classmethod
    def from_task(cls, task: Task, target: Target) -> RolloutSampler:
        """Build a sampler with the proposal of the target."""
        return cls(task, target, target.proposal_sampler, PotentialScorer.from_task(target.potentials, task))

    def start_rollout(self, sequences: ScoredSequences, length_limits: Ints) -> Rollout:
        """Open every sequence that has not ended and has fewer than `length_limits` (N,) tokens."""
        rows = np.flatnonzero(~_find_full(sequences.buffer, length_limits))
        batch = None
        if len(rows):
            batch = self.sampler.init(replace(self.task, prefixes=sequences.buffer.to_sequences(rows)))
            batch = replace(batch, row_ids=self.task.first_row + rows)
        return Rollout(sequences, length_limits, rows, batch)

    def extend_rollout(self, rollout: Rollout, rng: Random, energies: Any) -> tuple[Rollout, Step]:
        """Draw one more token for every open sequence. `rng` has a row for each sequence."""
        rows, sequences = rollout.open_slots, rollout.sequences
        assert rollout.batch is not None
        batch, step = self.sampler.step(rng.for_rows(rows.tolist()), rollout.batch, energies)
        scores = self.target.score_step(batch, step)
        at = sequences.buffer.lengths[rows]
        log_weights, logprobs = sequences.token_log_weights.copy(), sequences.token_logprobs.copy()
        energy = sequences.energy.copy()
        log_weights[rows, at] = self.target.power * scores.model_logprob - scores.field_energy - scores.proposal_logprob
        logprobs[rows, at] = scores.model_logprob
        buffer = sequences.buffer.append_tokens(rows, step.tokens, batch.stop_token_ids)
        full = _find_full(buffer, rollout.length_limits)[rows]
        if full.any():
            energy[rows[full]] = self.scorer(buffer.to_sequences(rows[full]), buffer.finished_mask[rows[full]])
        batch = batch.advance_rows(np.flatnonzero(~full))
        sequences = ScoredSequences(buffer, log_weights, logprobs, energy)
        return Rollout(sequences, rollout.length_limits, rows[~full], None if full.all() else batch), step


def _find_full(buffer: TokenBuffer, length_limits: Ints) -> Bools:
    return buffer.stopped_mask | (buffer.lengths >= length_limits)
