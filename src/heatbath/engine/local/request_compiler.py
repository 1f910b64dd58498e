"""Validate a request and build its fields, potentials and sampler."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from heatbath.decode import Independent, Sampler, Schedule, TokenSampler
from heatbath.energy.vocab_bytes import TokenBytesCache
from heatbath.engine.base import ComponentSpec, Request
from heatbath.engine.generate import repeat_prompts
from heatbath.engine.local.config import Options
from heatbath.engine.registry import FIELDS, POTENTIALS, SCHEDULES, WINDOWS, Dish, Setting, made
from heatbath.engine.samplers import SAMPLERS
from heatbath.engine.samplers import build_sampler as sampler_of
from heatbath.engine.settings import Settings, check
from heatbath.engine.step_record import RecordMode
from heatbath.engine.stop_strings import StopStrings
from heatbath.errors import BadInput, HeatbathError
from heatbath.models.base import Model

T = TypeVar("T")

# What loads other models or code by name is no request's to ask for.
OFFERED_FIELDS = MappingProxyType({name: dish for name, dish in FIELDS.items() if name not in ("product", "mixture")})
OFFERED_POTENTIALS = MappingProxyType({name: dish for name, dish in POTENTIALS.items() if name != "function"})

_MOST_LETTERS = 1 << 17
_MOST_NUMBERS = 64
_KEEP: Mapping[str | None, RecordMode] = MappingProxyType({None: False, "state": "state", "nodes": True})


@dataclass(frozen=True)
class CompiledRequest:
    """A request and what it asks for, built.

    Attributes:
        settings: of a run that gives the same sequences.
        sampler: what draws them.
        stops: texts that end a sequence.
        rows: of the batch that it may hold at once.
        group: which rows it may be drawn together with; None for its own alone.
        why: what keeps the seed from giving the same tokens again, if anything.
    """

    request: Request
    settings: Settings
    sampler: Sampler
    stops: StopStrings
    rows: int
    group: tuple[str, ...] | None
    why: str = ""

    @property
    def by_token(self) -> bool:
        """Whether sequences are drawn token by token, each by itself."""
        return isinstance(self.sampler, Independent)

    @property
    def token_sampler(self) -> TokenSampler:
        """What draws the tokens of a request that is drawn token by token."""
        assert isinstance(self.sampler, Independent)
        return self.sampler.sampler

    @property
    def is_plain(self) -> bool:
        """Whether tokens are drawn from the model's own energies, at a fixed temperature."""
        settings = self.settings
        return not (settings.fields or settings.window or isinstance(settings.temperature, Schedule))

    @property
    def stop(self) -> tuple[int, ...]:
        """Tokens that end a sequence."""
        return tuple(self.settings.stop or ())

    @property
    def keep(self) -> RecordMode:
        return self.settings.record

    @property
    def cost(self) -> float:
        """Tokens it may take, prompt and answers."""
        return len(self.request.prompt) + max(1, self.rows) * max(1, self.request.max_tokens)


class RequestCompiler:
    """Compiles requests for one model. What depends on the vocabulary alone is built once."""

    def __init__(self, model: Model, options: Options) -> None:
        self._model, self._options = model, options
        self._token_bytes = TokenBytesCache(model.token_bytes, model.vocabulary.size)

    @staticmethod
    def quick(request: Request) -> bool:
        """Whether making the plan takes no time worth a thread."""
        return not (request.fields or request.potentials or request.schedule)

    def prepare(self) -> None:
        """Read the vocabulary and make ready for grammars, which the first request would wait for otherwise."""
        self._token_bytes(0)
        with suppress(HeatbathError):
            made(FIELDS, "field", ("regex", "[a-z]*"), Setting(self._model, 1, self._token_bytes))

    def __call__(self, request: Request) -> CompiledRequest:
        """The plan. Raises `BadInput` for what cannot be done; the sentence names what it is."""
        _check_plain(request, self._options)
        setting = Setting(self._model, max(1, request.max_tokens), self._token_bytes)
        settings = self._settings(request, setting)
        check(self._model, [self._started(request)], settings)
        _check_tokens(request, settings, self._model.vocabulary.size)
        return self._planned(request, settings)

    def _started(self, request: Request) -> Sequence[int]:
        return request.prompt or self._model.vocabulary.start_token_ids

    def _settings(self, request: Request, setting: Setting) -> Settings:
        schedule = None if request.schedule is None else _made(SCHEDULES, "schedule", request.schedule, setting)
        stop = self._model.vocabulary.stop_token_ids if request.stop_token_ids is None else request.stop_token_ids
        return Settings(
            temperature=request.temperature if schedule is None else schedule,
            max_tokens=max(1, request.max_tokens),
            window=[_made(WINDOWS, "window", asked, setting) for asked in request.windows],
            fields=[_made(OFFERED_FIELDS, "field", asked, setting) for asked in request.fields],
            potentials=[_made(OFFERED_POTENTIALS, "potential", asked, setting) for asked in request.potentials],
            sampler=request.sampler,
            seed=secrets.randbits(48) if request.seed is None else request.seed,
            record=_KEEP[request.record],
            stop=() if request.ignore_stop else tuple(stop),
            options=dict(request.options),
        )

    def _planned(self, request: Request, settings: Settings) -> CompiledRequest:
        sampler = sampler_of(repeat_prompts([request.prompt], settings, request.n)[1], request.n)
        rows = request.n if isinstance(sampler, TokenSampler) else sampler.max_rows(request.n)
        if rows > self._options.max_rows:
            raise BadInput(f"the request needs {rows} rows, and there are {self._options.max_rows}: ask for fewer.")
        schedule = settings.temperature
        clocked = isinstance(schedule, Schedule) and not schedule.deterministic
        return CompiledRequest(
            request,
            settings,
            sampler,
            StopStrings(tuple(request.stop)),
            rows if request.max_tokens else 0,
            _group(request),
            "the schedule goes by the clock" if clocked else "",
        )


def _check_plain(request: Request, options: Options) -> None:
    if not isinstance(request.sampler, str) or request.sampler not in SAMPLERS:
        raise BadInput(f"there is no sampler {request.sampler!r}: choose from {', '.join(SAMPLERS)}.")
    if request.n < 1:
        raise BadInput(f"n is {request.n}: ask for at least 1 answer.")
    if request.max_tokens < 0:
        raise BadInput(f"max_tokens is {request.max_tokens}: give at least 0.")
    if request.record not in _KEEP:
        raise BadInput(f"record is {request.record!r}: give None, 'state' or 'nodes'.")
    if request.seed is not None and request.seed < 0:
        raise BadInput(f"the seed is {request.seed}: give a number from 0 up.")
    if request.deadline is not None and not request.deadline > 0:
        raise BadInput(f"the deadline is {request.deadline} s: give a number above 0.")


def _check_tokens(request: Request, settings: Settings, size: int) -> None:
    for token in (*request.prompt, *(settings.stop or ())):
        if not 0 <= token < size:
            raise BadInput(f"token id {token} is outside the vocabulary of {size}: give ids from 0 to {size - 1}.")
    if not 0 <= request.top_logprobs <= size:
        raise BadInput(f"top is {request.top_logprobs}: give a number from 0 to the {size} tokens there are.")


def _made(menu: Mapping[str, Dish[T]], kind: str, asked: ComponentSpec, setting: Setting) -> T:
    """What is asked for, if its value is of a size that can be worked with."""
    what = f"the {kind} {asked.name!r:.40}"
    letters = len(json.dumps(asked.value))
    if letters > _MOST_LETTERS:
        raise BadInput(f"the value of {what} has {letters} characters: give at most {_MOST_LETTERS}.")
    if asked.name == "max_entropy" and _count(asked.value) > _MOST_NUMBERS:
        raise BadInput(f"{what} has {_count(asked.value)} features: give at most {_MOST_NUMBERS}.")
    try:
        return made(menu, kind, (asked.name, asked.value), setting)
    except HeatbathError:
        raise
    except Exception as error:
        raise BadInput(f"{what} cannot be made from {asked.value!r:.60}: {type(error).__name__}.") from error


def _count(value: Any) -> int:
    lambdas = value.get("lambdas", ()) if isinstance(value, dict) else ()
    return len(lambdas) if isinstance(lambdas, list | tuple) else 0


def _group(request: Request) -> tuple[str, ...] | None:
    """Rows with the same windows and the same kind of record are drawn together; what has fields alone."""
    if request.fields or request.schedule is not None:
        return None
    return (
        request.sampler,
        str(request.record),
        *(f"{each.name}={json.dumps(each.value, sort_keys=True)}" for each in request.windows),
    )
