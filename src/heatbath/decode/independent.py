"""Independent sequences from a token sampler, and the bases of samplers that select one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from heatbath.decode.base import Floats, Ints, Task, TokenSampler
from heatbath.decode.rng import Random
from heatbath.decode.sequences import (
    BatchState,
    Bools,
    SamplerState,
    SequenceSampler,
    SequenceStep,
    TokenBuffer,
    WeightedSamples,
)
from heatbath.models.base import Session


@dataclass(frozen=True)
class IndependentState(BatchState):
    """Independent sequences; `logprob` (N,) is their log-probability in the model, None if not kept."""

    stop_token_ids: tuple[int, ...]
    logprob: Floats | None
    logprob_temperature: float | None = None
    ends_rows: Callable[[Ints, Ints], Bools] | None = None

    def samples(self) -> WeightedSamples:
        """Return all sequences, each of weight 1."""
        n = self.num_slots
        return WeightedSamples(
            sequences=self.buffer.to_sequences(),
            slots=np.arange(n),
            finish_reasons=self.buffer.finish_reasons(),
            log_weight=np.zeros(n),
            logprob=self.logprob,
            logprob_temperature=self.logprob_temperature,
            selected_index=0,
            log_z=None,
            ess=float(n),
            tokens_spent=int(self.buffer.lengths.sum()),
        )


@dataclass(frozen=True)
class Independent(SequenceSampler[IndependentState]):
    """Draw every row with `sampler` until it ends, and sum log p in the model at `logprob_temperature` if given."""

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
        return state.session

    def step(self, rng: Random, state: IndependentState, energies: Any) -> tuple[IndependentState, SequenceStep]:
        stream = rng if len(state.open_slots) == state.num_slots else rng.for_rows(state.open_slots.tolist())
        batch, step = self.sampler.step(stream, state.batch, energies)
        buffer = state.buffer.append_tokens(state.open_slots, step.tokens, state.stop_token_ids)
        if state.ends_rows is not None:
            buffer = buffer.with_stopped(state.open_slots[state.ends_rows(state.open_slots, step.tokens)])
        total = state.logprob
        if total is not None and self.logprob_temperature is not None:
            total = total.copy()
            total[state.open_slots] += step.logprob_at(np.full(len(step.tokens), 1 / self.logprob_temperature))
        remaining = np.flatnonzero(~buffer.finished_mask[state.open_slots])
        if self.sampler.is_exhausted(batch):
            remaining = remaining[:0]
        after = replace(
            state,
            buffer=buffer,
            batch=batch.advance_rows(remaining),
            open_slots=state.open_slots[remaining],
            logprob=total,
        )
        return after, SequenceStep(state.open_slots, step)


@dataclass(frozen=True)
class SelectionState(SamplerState):
    """Independent sequences of which one is selected."""

    inner_state: IndependentState

    @property
    def num_slots(self) -> int:
        return self.inner_state.num_slots

    @property
    def is_finished(self) -> bool:
        return self.inner_state.is_finished


def as_sequence_sampler(sampler: TokenSampler | SequenceSampler[Any]) -> SequenceSampler[Any]:
    """Return a sequence sampler as it is, and a token sampler as a sampler of independent sequences."""
    return Independent(sampler) if isinstance(sampler, TokenSampler) else sampler
