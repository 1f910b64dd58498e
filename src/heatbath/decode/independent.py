"""Rows that know nothing of one another: a sampler of tokens made one of sequences; rows leave as they end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.base import Batch, Floats, Ints, Sampler, Step, Task
from heatbath.decode.rng import Random
from heatbath.decode.schedules import LatencyBudget
from heatbath.decode.sequences import SequenceStep, TokenBuffer, WeightedSamples


@dataclass(frozen=True)
class IndependentState:
    """Independent answers: `batch` holds those that are `open` (A,); `logprob` (N,) is kept where asked for."""

    buffer: TokenBuffer
    batch: Batch
    open_slots: Ints
    stop_token_ids: tuple[int, ...]
    logprob: Floats | None

    @property
    def num_slots(self) -> int:
        return len(self.buffer.lengths)

    @property
    def num_streams(self) -> int:
        return self.num_slots

    @property
    def is_finished(self) -> bool:
        return not len(self.open_slots)

    def collect_samples(self) -> WeightedSamples:
        """All rows, each of weight one."""
        n = self.num_slots
        spent = int(self.buffer.lengths.sum())
        finish = self.buffer.finish_reasons()
        return WeightedSamples(
            self.buffer.to_sequences(), np.arange(n), finish, np.zeros(n), self.logprob, 0, None, float(n), spent
        )


def init_sequence_sampler(sampler: Sampler[Any, Any], task: Task) -> tuple[Sampler[Any, Any], Any]:
    """A sampler of whole answers and its first state; one of tokens is made one of independent answers."""
    state = sampler.init(task)
    if not isinstance(state, Batch):
        return sampler, state
    rows = Independent(sampler)
    return rows, rows.init(task)


@dataclass(frozen=True)
class Independent(Sampler[IndependentState, SequenceStep]):
    """Draws every row with `sampler` until it ends; log p in the model at the temperature `scored` is summed up."""

    sampler: Sampler[Batch, Step]
    logprob_temperature: float | None = None

    def init(self, task: Task) -> IndependentState:
        rows = len(task.prompts)
        total = None if self.logprob_temperature is None else np.zeros(rows)
        return IndependentState(
            TokenBuffer.empty(rows, task.max_tokens),
            self.sampler.init(task),
            np.arange(rows),
            task.stop_token_ids,
            total,
        )

    def _is_out_of_time(self, batch: Batch) -> bool:
        """Whether the rows have no time left; what they hold is then all there will be."""
        schedule = self.sampler.temperatures if isinstance(self.sampler, Ancestral) else None
        if not isinstance(schedule, LatencyBudget) or batch.memory is None:
            return False
        return not schedule.remaining_tokens(batch.memory).any()

    def step(self, rng: Random, state: IndependentState) -> tuple[IndependentState, SequenceStep]:
        batch, step = self.sampler.step(rng.for_rows(state.open_slots.tolist()), state.batch)
        sheet = state.buffer.append_tokens(state.open_slots, step.tokens, state.stop_token_ids)
        total = state.logprob
        if total is not None and self.logprob_temperature is not None:
            total = total.copy()
            total[state.open_slots] += step.logprob_at(np.full(len(step.tokens), 1 / self.logprob_temperature))
        move = SequenceStep(state.open_slots, step)
        stay = np.flatnonzero(~sheet.finished_mask[state.open_slots])
        if self._is_out_of_time(batch):
            stay = stay[:0]
        if 0 < len(stay) < len(state.open_slots):
            batch = batch.select_rows(stay)
        return replace(state, buffer=sheet, batch=batch, open_slots=state.open_slots[stay], logprob=total), move
