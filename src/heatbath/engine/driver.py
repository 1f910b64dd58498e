"""The decoding loop: evaluate the session that a sampler waits for, step, record, emit a frame.

`hb.generate`, the command line and the local scheduler all drive a `Run`; the scheduler evaluates the sessions of many
runs in one forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from heatbath.decode import Independent, RowRandom, SamplerState, SequenceStep, Task, evaluate, find_edge_crossings
from heatbath.decode.base import OpenSession
from heatbath.decode.independent import as_sequence_sampler
from heatbath.engine.registry.samplers import build_sampler
from heatbath.engine.result import Generation
from heatbath.engine.run_buffer import Floats, RunBuffer
from heatbath.engine.settings import GenerationSettings, validate_settings
from heatbath.engine.step_record import build_record
from heatbath.engine.stop_strings import StopStrings, StopTracker
from heatbath.errors import HeatbathError, NotANumber
from heatbath.models.base import Model, Session, Tokens
from heatbath.record import CROSSED_PREFIX, Frame, Provenance


class Run:
    """One generation over a batch of prompts.

    Iterating takes one step at a time and yields its `Frame`; leave the loop to stop early. `result` returns the
    samples so far. To evaluate several runs in one forward pass, take the `pending` session of each and hand `step` its
    energies (B, V). `opener` opens sessions in place of `model.open`.

    Raises:
        BadInput: prompts that leave no room for `max_tokens` in the context, or invalid settings. An error in a later
            step carries the samples so far as `.partial`, a `Generation`.
        NotANumber: the model or a potential gave NaN; names the step.
    """

    def __init__(
        self,
        model: Model,
        prompts: Sequence[Tokens],
        settings: GenerationSettings | None = None,
        *,
        opener: OpenSession | None = None,
    ) -> None:
        self.settings = settings or GenerationSettings()
        self.prompts = tuple(prompts)
        validate_settings(model, self.prompts, self.settings)
        self._model = model
        self._provenance = Provenance.from_model(model)
        stop = self.settings.resolve_stop_token_ids(model)
        first, length = self.settings.first_row, self.settings.max_tokens
        observe = self.settings.record == "state"
        self.stop_token_ids, self.stop_strings = stop, StopStrings.from_texts(self.settings.stop)
        self._sampler = as_sequence_sampler(build_sampler(self.settings, len(self.prompts)))
        ends_rows = None
        if self.stop_strings.texts and isinstance(self._sampler, Independent):
            ends_rows = StopTracker(self.stop_strings, model.token_bytes, frozenset(stop))
        task = Task(model, self.prompts, length, stop, first, observe=observe, opener=opener, ends_rows=ends_rows)
        self._state: SamplerState = self._sampler.init(task)
        slots = self._state.num_slots
        self._random_streams = RowRandom(self.settings.seed, range(first, first + self._state.num_streams))
        self._buffer = RunBuffer(slots, length)
        self._previous_temperatures = np.full(slots, np.nan)
        self._step_index = self._evaluated = 0

    def __iter__(self) -> Iterator[Frame]:
        while not self.is_finished:
            with self._attach_partial_result():
                energies = evaluate(self.pending)
            yield self.step(energies)

    @property
    def is_finished(self) -> bool:
        """True when all sequences are finished."""
        return self._state.is_finished

    @property
    def pending(self) -> Session | None:
        """The session whose energies the next step needs; None if it needs none."""
        return self._sampler.pending(self._state)

    def step(self, energies: Any) -> Frame:
        """Run one step on the energies of the pending session (None if there is none) and return its frame."""
        with self._attach_partial_result():
            self._state, change = self._sampler.step(self._random_streams, self._state, energies)
            frame = self._record_step(change)
        self._step_index += 1
        self._evaluated += energies is not None
        return frame

    @property
    def has_independent_rows(self) -> bool:
        """True if sequences are drawn independently, so that their text can be shown as it grows."""
        return isinstance(self._sampler, Independent)

    @property
    def num_slots(self) -> int:
        """Number of sequences held at once."""
        return self._state.num_slots

    def result(self) -> Generation:
        """Return the samples so far."""
        samples = self._state.samples()
        single = len(self.prompts) == 1
        prompts = self.prompts * len(samples.slots) if single else tuple(self.prompts[slot] for slot in samples.slots)
        return Generation(
            prompts,
            self._buffer.to_arrays(samples.slots),
            samples,
            self._provenance,
            self._model.token_bytes,
            self.stop_token_ids,
            self.stop_strings,
        )

    @contextmanager
    def _attach_partial_result(self) -> Iterator[None]:
        """Add the samples so far to an error, and the token at which it came up to a NaN of the model."""
        try:
            yield
        except NotANumber as error:
            sentence = f"{self._model.name} gave NaN at generated token {self._evaluated}: {error}"
            raise self._attach_partial(NotANumber(sentence, component=error.component)) from error
        except HeatbathError as error:
            raise self._attach_partial(error) from error.__cause__

    def _record_step(self, change: SequenceStep) -> Frame:
        if change.sources is not None:
            self._buffer.copy_slots(change.sources, change.lengths)
            self._previous_temperatures = self._previous_temperatures[change.sources]
        step = change.step
        if step is None:
            return Frame(self._step_index, change.slots, np.empty(0, np.int64), None, change.sources, change.lengths)
        record = build_record(step, self.settings.record)
        if self.settings.edges and record is not None:
            record = record.with_columns(self._mark_crossings(change))
        self._buffer.write(change.slots, step.tokens, step.betas, record)
        return Frame(self._step_index, change.slots, step.tokens, record, change.sources, change.lengths)

    def _mark_crossings(self, change: SequenceStep) -> dict[str, Floats]:
        """Return a column per edge: 1 where the temperature rose through it since the last token, -1 where it fell."""
        assert change.step is not None
        with np.errstate(divide="ignore"):
            now = 1 / change.step.betas
        before = np.where(
            np.isnan(self._previous_temperatures[change.slots]), now, self._previous_temperatures[change.slots]
        )
        self._previous_temperatures[change.slots] = now
        columns = {name: np.zeros(len(now)) for name in self.settings.edges}
        for row, pair in enumerate(zip(before.tolist(), now.tolist(), strict=True)):
            for _, name, sign in find_edge_crossings(pair, self.settings.edges):
                columns[name][row] = sign
        return {CROSSED_PREFIX + name: column for name, column in columns.items()}

    def _attach_partial(self, error: HeatbathError) -> HeatbathError:
        error.partial = self.result()
        return error
