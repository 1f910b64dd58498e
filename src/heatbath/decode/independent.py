"""Rows that know nothing of one another: a sampler of tokens made one of sequences; rows leave as they end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heatbath.decode.ancestral import Ancestral
from heatbath.decode.answers import Move, Samples, Sheet
from heatbath.decode.base import Batch, Floats, Ints, Sampler, Step, Task
from heatbath.decode.schedules import LatencyBudget
from heatbath.decode.seeds import Random


@dataclass(frozen=True)
class Rows:
    """Independent answers: `batch` holds those that are `open` (A,); `logprob` (N,) is kept where asked for."""

    sheet: Sheet
    batch: Batch
    open: Ints
    stop: tuple[int, ...]
    logprob: Floats | None

    @property
    def slots(self) -> int:
        return len(self.sheet.lengths)

    @property
    def streams(self) -> int:
        return self.slots

    @property
    def done(self) -> bool:
        return not len(self.open)

    def samples(self) -> Samples:
        """All rows, each of weight one."""
        n = self.slots
        spent = int(self.sheet.lengths.sum())
        finish = self.sheet.finish()
        return Samples(self.sheet.answers(), np.arange(n), finish, np.zeros(n), self.logprob, 0, None, float(n), spent)


def begun(sampler: Sampler[Any, Any], task: Task) -> tuple[Sampler[Any, Any], Any]:
    """A sampler of whole answers and its first state; one of tokens is made one of independent answers."""
    state = sampler.init(task)
    if not isinstance(state, Batch):
        return sampler, state
    rows = Independent(sampler)
    return rows, rows.init(task)


@dataclass(frozen=True)
class Independent(Sampler[Rows, Move]):
    """Draws every row with `sampler` until it ends; log p in the model at the temperature `scored` is summed up."""

    sampler: Sampler[Batch, Step]
    scored: float | None = None

    def init(self, task: Task) -> Rows:
        rows = len(task.prompts)
        total = None if self.scored is None else np.zeros(rows)
        return Rows(Sheet.empty(rows, task.max_tokens), self.sampler.init(task), np.arange(rows), task.stop, total)

    def _late(self, batch: Batch) -> bool:
        """Whether the rows have no time left; what they hold is then all there will be."""
        schedule = self.sampler.temperatures if isinstance(self.sampler, Ancestral) else None
        if not isinstance(schedule, LatencyBudget) or batch.memory is None:
            return False
        return not schedule.tokens_left(batch.memory).any()

    def step(self, rng: Random, state: Rows) -> tuple[Rows, Move]:
        batch, step = self.sampler.step(rng.at(state.open.tolist()), state.batch)
        sheet = state.sheet.grown(state.open, step.tokens, state.stop)
        total = state.logprob
        if total is not None and self.scored is not None:
            total = total.copy()
            total[state.open] += step.logprob_at(np.full(len(step.tokens), 1 / self.scored))
        move = Move(state.open, step)
        stay = np.flatnonzero(~sheet.ended[state.open])
        if self._late(batch):
            stay = stay[:0]
        if 0 < len(stay) < len(state.open):
            batch = batch.keep(stay)
        return replace(state, sheet=sheet, batch=batch, open=state.open[stay], logprob=total), move
