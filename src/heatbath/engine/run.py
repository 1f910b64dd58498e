"""One synchronous host: prompts go in, a sampler draws step by step, records are written, rows leave as they end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from heatbath.decode import Ancestral, Greedy, RowRandom, Sampler, Step, Window
from heatbath.energy import Field
from heatbath.engine.generation import Generation
from heatbath.engine.tape import Floats, Tape
from heatbath.errors import BadInput, NotANumber
from heatbath.models.base import Model, Tokens
from heatbath.record import WORK, About, Frame, Record, observe, observe_nodes

Temperature = float | Sequence[float] | Floats


@dataclass(frozen=True)
class Settings:
    """How to generate. Row i draws from the stream (`seed`, `first_row` + i), whatever batch it is in.

    `sampler` is "ancestral", "greedy", or a `Sampler` that brings its own temperatures, window and fields. `record` is
    True for everything, "nodes" for energies and the nodes of log Z alone, False for nothing. A row ends with a token
    of `stop`, the model's own if None.
    """

    temperature: Temperature = 1.0
    max_tokens: int = 128
    window: Window | Sequence[Window] | None = None
    fields: Field | Sequence[Field] = ()
    sampler: str | Sampler = "ancestral"
    seed: int = 0
    first_row: int = 0
    record: bool | Literal["nodes"] = True
    stop: Sequence[int] | None = None


class Options(TypedDict, total=False):
    """`Settings` as keyword arguments."""

    temperature: Temperature
    max_tokens: int
    window: Window | Sequence[Window] | None
    fields: Field | Sequence[Field]
    sampler: str | Sampler
    seed: int
    first_row: int
    record: bool | Literal["nodes"]
    stop: Sequence[int] | None


class Run:
    """A batch of prompts being continued: iterate for its frames, stop when you like, `result` has what there is.

    Raises:
        BadInput: prompts that leave no room for `max_tokens` in the context, settings that make no sense.
        NotANumber: the model gave NaN; names the step.
    """

    def __init__(self, model: Model, prompts: Sequence[Tokens], settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.prompts = tuple(prompts)
        _check(model, self.prompts, self.settings)
        self._model = model
        self._about = About.of(model)
        self._random = RowRandom(self.settings.seed, range(self._first, self._first + len(self.prompts)))
        self._sampler = _sampler(self.settings, len(self.prompts))
        self._batch = self._sampler.init(model.open(self.prompts))
        self._betas = self._batch.betas
        self._tape = Tape(len(self.prompts), self.settings.max_tokens)
        self._finish = ["interrupted"] * len(self.prompts)
        self._rows = np.arange(len(self.prompts))
        stop = model.vocabulary.stop if self.settings.stop is None else self.settings.stop
        self._stop = np.asarray(tuple(stop), np.int64)
        self._step = 0

    @property
    def _first(self) -> int:
        return self.settings.first_row

    def __iter__(self) -> Iterator[Frame]:
        while self._rows.size and self._step < self.settings.max_tokens:
            yield self._advance()
        for row in self._rows:
            self._finish[row] = "length"

    def result(self) -> Generation:
        """What has been drawn so far."""
        arrays = self._tape.arrays(self._betas)
        return Generation(self.prompts, arrays, tuple(self._finish), self._about, self._model.token_bytes)

    def _advance(self) -> Frame:
        try:
            self._batch, step = self._sampler.step(self._random, self._batch)
            record = _recorded(step, self.settings.record)
        except NotANumber as error:
            raise NotANumber(f"{self._model.name} gave NaN at generated token {self._step}: {error}") from error
        frame = Frame(self._step, self._rows, step.tokens, record)
        self._tape.write(self._step, self._rows, step.tokens, record)
        self._step += 1
        self._drop(np.isin(step.tokens, self._stop))
        return frame

    def _drop(self, ended: NDArray[np.bool_]) -> None:
        """Rows that drew a stop token leave the batch."""
        if not ended.any():
            return
        for row in self._rows[ended]:
            self._finish[row] = "stop"
        stay = np.flatnonzero(~ended).tolist()
        self._rows = self._rows[stay]
        if stay:
            self._batch = self._batch.keep(stay)
            self._random.keep(stay)


def _recorded(step: Step, keep: bool | str) -> Record | None:
    if keep is False:
        return None
    if keep == "nodes":
        return observe_nodes(step.energies, step.tokens)
    record = observe(step.energies, step.tokens, beta=step.betas)
    more = {WORK + name: work for name, work in step.work.items()}
    if step.drawn is not step.energies:
        more["drawn_logprob"] = step.logprob
    return record.extend({"kept_mass": step.kept_mass, **more})


def _sampler(settings: Settings, rows: int) -> Sampler:
    if isinstance(settings.sampler, Sampler):
        return settings.sampler
    if settings.sampler == "ancestral":
        return Ancestral(checked_temperatures(settings.temperature, rows), settings.window, settings.fields)
    if settings.sampler == "greedy" and settings.window is None:
        return Greedy(settings.fields)
    if settings.sampler == "greedy":
        raise BadInput("a window changes nothing for the greedy sampler: leave it out.")
    raise BadInput(f"there is no sampler {settings.sampler!r}: give 'ancestral', 'greedy' or a Sampler.")


def checked_temperatures(temperature: Temperature, rows: int) -> Floats:
    """The temperatures (rows,) or (), as given.

    Raises:
        BadInput: below 0, NaN, or of another shape.
    """
    values = np.asarray(temperature, np.float64)
    if values.shape not in ((), (rows,)):
        raise BadInput(f"{rows} rows take one temperature or {rows} of them, not shape {values.shape}.")
    wrong = values[~(values >= 0)]
    if wrong.size:
        raise BadInput(f"temperature is {wrong[0]}: give a number from 0 up.")
    return values


def _check(model: Model, prompts: Sequence[Tokens], settings: Settings) -> None:
    if not prompts:
        raise BadInput("there is no prompt: give at least one ([] starts a document).")
    if settings.max_tokens < 1:
        raise BadInput(f"max_tokens is {settings.max_tokens}: give at least 1.")
    if settings.record not in (True, False, "nodes"):
        raise BadInput(f"record is {settings.record!r}: give True, False or 'nodes'.")
    if model.context_length is None:
        return
    longest = max(len(prompt) or len(model.vocabulary.start) for prompt in prompts)
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
