"""Independent sequences: a token sampler made a sampler of sequences; rows leave as they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heatbath.decode.base import Batch, Floats, Ints, Task, TokenSampler
from heatbath.decode.rng import Random
from heatbath.decode.sequences import Bools, SequenceSampler, SequenceStep, TokenBuffer, WeightedSamples
from heatbath.models.base import Session


@dataclass(frozen=True)
class IndependentState:
    """Independent sequences: `batch` holds those that are `open` (A,); `logprob` (N,) is kept where asked for."""

    sheet: TokenBuffer
    batch: Batch
    open: Ints
    stop: tuple[int, ...]
    logprob: Floats | None
    logprob_temperature: float | None = None
    ends_rows: Callable[[Ints, Ints], Bools] | None = None

    @property
    def slots(self) -> int:
        return len(self.sheet.lengths)

    @property
    def streams(self) -> int:
        return self.slots

    @property
    def done(self) -> bool:
        return not len(self.open)

    def samples(self) -> WeightedSamples:
        """All rows, each of weight one."""
        n = self.slots
        return WeightedSamples(
            answers=self.sheet.answers(),
            slots=np.arange(n),
            finish=self.sheet.finish(),
            log_weight=np.zeros(n),
            logprob=self.logprob,
            logprob_temperature=self.logprob_temperature,
            value=0,
            log_z=None,
            ess=float(n),
            tokens_spent=int(self.sheet.lengths.sum()),
        )


@dataclass(frozen=True)
class Independent(SequenceSampler[IndependentState]):
    """Draws every row with `sampler` until it ends; log p in the model at the temperature `scored` is summed up."""

    sampler: TokenSampler
    logprob_temperature: float | None = None

    def init(self, task: Task) -> IndependentState:
        rows = len(task.prompts)
        total = None if self.logprob_temperature is None else np.zeros(rows)
        batch = self.sampler.init(task)
        return IndependentState(
            TokenBuffer.empty(rows, task.max_tokens),
            batch,
            np.arange(rows),
            task.stop_token_ids,
            total,
            self.logprob_temperature,
            task.ends_rows,
        )

    def pending(self, state: IndependentState) -> Session | None:
        return None if state.done else state.batch.session

    def step(self, rng: Random, state: IndependentState, energies: Any) -> tuple[IndependentState, SequenceStep]:
        stream = rng if len(state.open) == state.slots else rng.for_rows(state.open.tolist())
        batch, step = self.sampler.step(stream, state.batch, energies)
        sheet = state.sheet.grown(state.open, step.tokens, state.stop)
        if state.ends_rows is not None:
            sheet = sheet.with_stopped(state.open[state.ends_rows(state.open, step.tokens)])
        total = state.logprob
        if total is not None and self.logprob_temperature is not None:
            total = total.copy()
            total[state.open] += step.logprob_at(np.full(len(step.tokens), 1 / self.logprob_temperature))
        stay = np.flatnonzero(~sheet.ended[state.open])
        if self.sampler.is_exhausted(batch):
            stay = stay[:0]
        after = replace(state, sheet=sheet, batch=batch.advance_rows(stay), open=state.open[stay], logprob=total)
        return after, SequenceStep(state.open, step)


def as_sequence_sampler(sampler: TokenSampler | SequenceSampler[Any]) -> SequenceSampler[Any]:
    """The sampler itself, or one of independent sequences made of a token sampler."""
    return Independent(sampler) if isinstance(sampler, TokenSampler) else sampler
