"""One synchronous host: prompts go in, a sampler moves step by step, records are written beside its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heatbath.decode import (
    Independent,
    RowRandom,
    Sampler,
    SamplerState,
    Schedule,
    SequenceStep,
    Task,
    Window,
    find_edge_crossings,
)
from heatbath.decode.independent import init_sequence_sampler
from heatbath.energy import Field, Potential
from heatbath.engine.result import Generation
from heatbath.engine.run_buffer import Floats, RunBuffer
from heatbath.engine.samplers import build_sampler
from heatbath.engine.step_record import RecordMode, build_record
from heatbath.errors import BadInput, HeatbathError, NotANumber
from heatbath.models.base import Model, Tokens
from heatbath.record import CROSSED_PREFIX, Frame, Provenance

Temperature = float | Sequence[float] | Floats | Schedule


@dataclass(frozen=True)
class GenerationSettings:
    """How to generate. Row i draws from the stream (`seed`, `first_row` + i), whatever batch it is in.

    `sampler` is a name of `heatbath.engine.SAMPLERS`, with `options` of its own, or a `Sampler` that brings everything
    that is asked of draws. `record` is True for everything, "state" for all but the nodes of log Z, "nodes" for
    energies and these alone, False for nothing. A row ends with a token of `stop`, the model's own if None. `edges`
    are temperatures of a phase map by name; the record then says at which steps a schedule crosses them.
    """

    temperature: Temperature = 1.0
    max_tokens: int = 128
    window: Window | Sequence[Window] | None = None
    fields: Field | Sequence[Field] = ()
    potentials: Potential | Sequence[Potential] = ()
    sampler: str | Sampler[Any, Any] = "ancestral"
    seed: int = 0
    first_row: int = 0
    record: RecordMode = True
    stop_token_ids: Sequence[int] | None = None
    edges: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class Run:
    """A batch of prompts being continued: iterate for its frames, stop when you like, `result` has what there is.

    Raises:
        BadInput: prompts that leave no room for `max_tokens` in the context, settings that make no sense. What comes
            up on the way carries what there is as `.partial`, a `Generation`.
        NotANumber: the model or a potential gave NaN; names the step.
    """

    def __init__(self, model: Model, prompts: Sequence[Tokens], settings: GenerationSettings | None = None) -> None:
        self.settings = settings or GenerationSettings()
        self.prompts = tuple(prompts)
        validate_settings(model, self.prompts, self.settings)
        self._model = model
        self._provenance = Provenance.from_model(model)
        stop = tuple(
            model.vocabulary.stop_token_ids if self.settings.stop_token_ids is None else self.settings.stop_token_ids
        )
        task = Task(model, self.prompts, self.settings.max_tokens, stop, self.settings.first_row)
        self._sampler, state = init_sequence_sampler(build_sampler(self.settings, len(self.prompts)), task)
        self._state: SamplerState = state
        slots, first = self._state.num_slots, self.settings.first_row
        self._random_streams = RowRandom(self.settings.seed, range(first, first + self._state.num_streams))
        self._buffer = RunBuffer(slots, self.settings.max_tokens)
        self._previous_temperatures = np.full(slots, np.nan)
        self._step_index = 0

    def __iter__(self) -> Iterator[Frame]:
        while not self._state.is_finished:
            yield self._advance()

    @property
    def has_independent_rows(self) -> bool:
        """Whether every answer goes its own way, so that its text can be shown as it grows."""
        return isinstance(self._sampler, Independent)

    @property
    def num_slots(self) -> int:
        """How many answers are held at once."""
        return self._state.num_slots

    def result(self) -> Generation:
        """What has been drawn so far."""
        drawn = self._state.collect_samples()
        single = len(self.prompts) == 1
        prompts = self.prompts * len(drawn.slots) if single else tuple(self.prompts[slot] for slot in drawn.slots)
        return Generation(
            prompts, self._buffer.to_arrays(drawn.slots), drawn, self._provenance, self._model.token_bytes
        )

    def _advance(self) -> Frame:
        try:
            self._state, move = self._sampler.step(self._random_streams, self._state)
            frame = self._record_step(move)
        except NotANumber as error:
            told = NotANumber(f"{self._model.name} gave NaN at generated token {self._step_index}: {error}")
            raise self._attach_partial(told) from error
        except HeatbathError as error:
            raise self._attach_partial(error) from error.__cause__
        self._step_index += 1
        return frame

    def _record_step(self, move: SequenceStep) -> Frame:
        if move.sources is not None:
            self._buffer.copy_slots(move.sources, move.lengths)
            self._previous_temperatures = self._previous_temperatures[move.sources]
        step = move.token_step
        if step is None:
            return Frame(self._step_index, move.slots, np.empty(0, np.int64), None, move.sources, move.lengths)
        record = build_record(step, self.settings.record)
        if self.settings.edges and record is not None:
            record = record.with_columns(self._mark_crossings(move))
        self._buffer.write(move.slots, step.tokens, step.betas, record)
        return Frame(self._step_index, move.slots, step.tokens, record, move.sources, move.lengths)

    def _mark_crossings(self, move: SequenceStep) -> dict[str, Floats]:
        """For each edge 1 where the temperature rose through it since the token before, -1 where it fell, else 0."""
        assert move.token_step is not None
        with np.errstate(divide="ignore"):
            now = 1 / move.token_step.betas
        before = np.where(
            np.isnan(self._previous_temperatures[move.slots]), now, self._previous_temperatures[move.slots]
        )
        self._previous_temperatures[move.slots] = now
        columns = {name: np.zeros(len(now)) for name in self.settings.edges}
        for row, pair in enumerate(zip(before.tolist(), now.tolist(), strict=True)):
            for _, name, sign in find_edge_crossings(pair, self.settings.edges):
                columns[name][row] = sign
        return {CROSSED_PREFIX + name: column for name, column in columns.items()}

    def _attach_partial(self, error: HeatbathError) -> HeatbathError:
        error.partial = self.result()
        return error


def validate_settings(model: Model, prompts: Sequence[Tokens], settings: GenerationSettings) -> None:
    """Raise `BadInput` for settings that no sampler can follow, and for prompts that leave them no room."""
    if not prompts:
        raise BadInput("there is no prompt: give at least one ([] starts a document).")
    if settings.max_tokens < 1:
        raise BadInput(f"max_tokens is {settings.max_tokens}: give at least 1.")
    if settings.record not in (True, False, "nodes", "state"):
        raise BadInput(f"record is {settings.record!r}: give True, False, 'nodes' or 'state'.")
    if model.context_length is None:
        return
    longest = max(len(prompt) or len(model.vocabulary.start_token_ids) for prompt in prompts)
    room = model.context_length - longest
    if room < 0:
        raise BadInput(
            f"a prompt of {longest} tokens is longer than the context of {model.context_length}: shorten it."
        )
    if settings.max_tokens > room + 1:
        raise BadInput(
            f"{settings.max_tokens} tokens after a prompt of {longest} do not fit the context of "
            f"{model.context_length}: ask for at most {room + 1}."
        )
