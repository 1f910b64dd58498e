"""From a request, plain data, to what is to be done: checked, its fields and potentials made."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np

from heatbath.decode import Tempering
from heatbath.decode.schedules import LatencyBudget
from heatbath.engine.base import Asked, Request
from heatbath.engine.generating import repeated
from heatbath.engine.local.options import Options
from heatbath.engine.local.through import Spelled
from heatbath.engine.menu import FIELDS, POTENTIALS, SCHEDULES, WINDOWS, Dish, Setting, made
from heatbath.engine.recording import Keep
from heatbath.engine.run import Settings, check
from heatbath.engine.samplers import SAMPLERS
from heatbath.engine.samplers import made as sampler_of
from heatbath.engine.tail import Stops
from heatbath.errors import BadInput, HeatbathError
from heatbath.models.base import Model

T = TypeVar("T")

# What loads other models or code by name is no request's to ask for.
OFFERED_FIELDS = MappingProxyType({name: dish for name, dish in FIELDS.items() if name not in ("product", "mixture")})
OFFERED_POTENTIALS = MappingProxyType({name: dish for name, dish in POTENTIALS.items() if name != "function"})

BY_TOKEN = ("ancestral", "greedy")
"""Samplers that draw each answer by itself, token by token."""

_COUNTS = ("width", "particles", "replicates", "chains", "n", "candidates", "rollouts")
_MOST_LETTERS = 1 << 17
_MOST_NUMBERS = 64
_KEEP: Mapping[str | None, Keep] = MappingProxyType({None: False, "state": "state", "nodes": True})


@dataclass(frozen=True)
class Plan:
    """A request and what it asks for, made.

    Attributes:
        settings: of a run that gives the same answers.
        stop: tokens that end an answer.
        stops: texts that do.
        by_token: whether answers are drawn token by token, each by itself.
        rows: of the batch, as far as can be told beforehand.
        group: which rows it may be drawn together with; None for its own alone.
        why: what keeps the seed from giving the same tokens again, if anything.
    """

    request: Request
    settings: Settings
    stops: Stops
    rows: int
    group: tuple[str, ...] | None
    why: str = ""

    @property
    def by_token(self) -> bool:
        return self.settings.sampler in BY_TOKEN

    @property
    def stop(self) -> tuple[int, ...]:
        return tuple(self.settings.stop or ())

    @property
    def keep(self) -> Keep:
        return self.settings.record

    @property
    def cost(self) -> float:
        """Tokens it may take, prompt and answers."""
        return len(self.request.prompt) + max(1, self.rows) * max(1, self.request.max_tokens)


class Planner:
    """Makes plans for one model. What depends on the vocabulary alone is made once."""

    def __init__(self, model: Model, options: Options) -> None:
        self._model, self._options = model, options
        self._spelled = cast(Model, Spelled(model))

    @staticmethod
    def quick(request: Request) -> bool:
        """Whether making the plan takes no time worth a thread."""
        return not (request.fields or request.potentials or request.schedule)

    def prepare(self) -> None:
        """Read the vocabulary and make ready for grammars, which the first request would wait for otherwise."""
        self._spelled.token_bytes(0)
        with suppress(HeatbathError):
            made(FIELDS, "field", ("regex", "[a-z]*"), Setting(self._spelled, 1))

    def __call__(self, request: Request) -> Plan:
        """The plan. Raises `BadInput` for what cannot be done; the sentence names what it is."""
        _check_plain(request, self._options)
        setting = Setting(self._spelled, max(1, request.max_tokens))
        settings = self._settings(request, setting)
        check(self._model, [self._started(request)], settings)
        _check_tokens(request, settings, self._model.vocabulary.size)
        return self._planned(request, settings)

    def _started(self, request: Request) -> Sequence[int]:
        return request.prompt or self._model.vocabulary.start

    def _settings(self, request: Request, setting: Setting) -> Settings:
        schedule = None if request.schedule is None else _made(SCHEDULES, "schedule", request.schedule, setting)
        stop = self._model.vocabulary.stop if request.stop_tokens is None else request.stop_tokens
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

    def _planned(self, request: Request, settings: Settings) -> Plan:
        sampler = sampler_of(repeated([request.prompt], settings, request.n)[1], request.n)
        rows = request.n if request.sampler in BY_TOKEN else _rows(sampler)
        if rows > self._options.max_rows:
            raise BadInput(f"the request needs {rows} rows, and there are {self._options.max_rows}: ask for fewer.")
        late = isinstance(settings.temperature, LatencyBudget)
        return Plan(
            request,
            settings,
            Stops(tuple(request.stop)),
            rows if request.max_tokens else 0,
            _group(request),
            "the schedule goes by the clock" if late else "",
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
    if not 0 <= request.top <= size:
        raise BadInput(f"top is {request.top}: give a number from 0 to the {size} tokens there are.")


def _made(menu: Mapping[str, Dish[T]], kind: str, asked: Asked, setting: Setting) -> T:
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


def _rows(sampler: Any) -> int:
    """How many answers a sampler of whole answers grows at once, as its settings say."""
    ladder = getattr(sampler, "ladder", 1) if isinstance(sampler, Tempering) else 1
    rungs = ladder if isinstance(ladder, int) else len(ladder)
    counts = [
        getattr(sampler, name, 1)
        for name in ("width", "particles", "replicates", "chains", "n", "candidates", "rollouts")
    ]
    return int(np.prod([*counts, max(1, rungs)]))


def _group(request: Request) -> tuple[str, ...] | None:
    """Rows with the same windows and the same kind of record are drawn together; what has fields alone."""
    if request.fields or request.schedule is not None:
        return None
    return (str(request.record), *(f"{each.name}={json.dumps(each.value, sort_keys=True)}" for each in request.windows))
