"""Validate a request and build its fields, potentials and sampler."""

from __future__ import annotations

import json
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeVar

from heatbath.decode import Independent, Sampler, Schedule, TokenSampler
from heatbath.energy import Field
from heatbath.energy.grammar import build_field_grammar
from heatbath.energy.grammar_guard import GrammarGuard
from heatbath.energy.vocab_bytes import TokenBytesCache
from heatbath.engine.base import ComponentSpec, RecordMode, Request, validate_record_mode
from heatbath.engine.generation import repeat_prompts
from heatbath.engine.local.config import EngineConfig
from heatbath.engine.registry import (
    FIELDS,
    POTENTIALS,
    SAMPLERS,
    SCHEDULES,
    WINDOWS,
    BuildContext,
    Registry,
    build,
    build_labeled,
    build_sampler,
)
from heatbath.engine.registry.option_types import validate_request_options, validate_request_value
from heatbath.engine.settings import GenerationSettings, validate_settings
from heatbath.engine.stop_strings import IncrementalDetokenizer, StopStrings
from heatbath.errors import BadInput, HeatbathError
from heatbath.models.base import Model

T = TypeVar("T")

_MAX_VALUE_CHARACTERS = 1 << 17
_MAX_COMPONENTS = 64
_MAX_LABELED = 256


@dataclass(frozen=True)
class CompiledRequest:
    """A validated request with its components built.

    Attributes:
        settings: those of a run that gives the same sequences.
        sampler: the sampler of the request.
        stop_token_ids: tokens that end a sequence.
        stop_strings: texts that end a sequence.
        rows: rows of the batch that it may hold at once.
        batch_key: requests with the same key are drawn together; None for a request that is drawn alone.
        nondeterminism_reason: the reason why the seed may not give the same tokens again; empty if it does.
    """

    request: Request
    settings: GenerationSettings
    sampler: Sampler
    stop_token_ids: tuple[int, ...]
    stop_strings: StopStrings
    rows: int
    batch_key: tuple[str, ...] | None
    nondeterminism_reason: str = ""

    @property
    def draws_token_by_token(self) -> bool:
        """True if sequences are drawn token by token, independently."""
        return isinstance(self.sampler, Independent)

    @property
    def token_sampler(self) -> TokenSampler:
        """The token sampler of a request that is drawn token by token."""
        assert isinstance(self.sampler, Independent)
        return self.sampler.sampler

    @property
    def is_plain(self) -> bool:
        """True if tokens are drawn from the model's own energies at a fixed temperature."""
        settings = self.settings
        return not (settings.fields or settings.window or isinstance(settings.temperature, Schedule))

    @property
    def record_mode(self) -> RecordMode:
        """The record to keep of each step."""
        return self.settings.record

    def build_detokenizer(self) -> IncrementalDetokenizer:
        """Build the detokenizer of one of its sequences."""
        request = self.request
        return IncrementalDetokenizer(self.stop_strings, keep_stop=request.keep_stop, min_tokens=request.min_tokens)

    @property
    def cost(self) -> float:
        """Upper bound on its tokens: prompt and sequences."""
        return len(self.request.prompt) + max(1, predict_tokens(self.sampler, self.request, self.rows))


class RequestCompiler:
    """Compiles requests for one model. What depends on the vocabulary alone is built once.

    `guard` tries grammars before they are compiled; None, on a platform that cannot fork, compiles them at once.
    """

    def __init__(self, model: Model, options: EngineConfig, guard: GrammarGuard | None = None) -> None:
        self._model, self._options = model, options
        self._token_bytes = TokenBytesCache(model.token_bytes, model.vocabulary.size)
        if guard is None and GrammarGuard.is_supported():
            guard = GrammarGuard(self._token_bytes, model.vocabulary)
        self.guard = guard
        # By identity, beside the object itself, so that another one never has its number.
        self._labeled: OrderedDict[int, tuple[ComponentSpec, Field]] = OrderedDict()

    @staticmethod
    def is_quick(request: Request) -> bool:
        """Return whether the request compiles fast enough to do so on the event loop."""
        return not (request.fields or request.potentials or request.schedule)

    def prepare(self) -> None:
        """Read the vocabulary and prepare for grammars, which the first request would wait for otherwise."""
        self._token_bytes(0)
        with suppress(HeatbathError):
            build(FIELDS, ("regex", "[a-z]*"), BuildContext(self._model, 1, self._token_bytes))

    def list_grammars(self, request: Request) -> list[tuple[str, str]]:
        """Return the grammars that its fields compile, each with the name of its field. Raises `BadInput`."""
        grammars = []
        for spec in request.fields:
            if spec.label is not None:
                continue
            _validate_component(FIELDS, spec)
            with _name_component_in_errors(FIELDS, spec):
                grammar = build_field_grammar(spec.name, spec.value)
                if grammar is not None:
                    grammars.append((spec.name, grammar))
        return grammars

    def __call__(self, request: Request) -> CompiledRequest:
        """Compile a request. Raises `BadInput` that names the setting at fault."""
        _validate_options(request, self._options)
        context = BuildContext(self._model, max(1, request.max_tokens), self._token_bytes, self.guard)
        settings = self._build_settings(request, context)
        validate_settings(self._model, [self._resolve_prompt(request)], settings)
        _validate_tokens(request, settings, self._model.vocabulary.size)
        return self._compile(request, settings)

    def _resolve_prompt(self, request: Request) -> Sequence[int]:
        return request.prompt or self._model.vocabulary.start_token_ids

    def _build_settings(self, request: Request, context: BuildContext) -> GenerationSettings:
        schedule = None if request.schedule is None else _build_component(SCHEDULES, request.schedule, context)
        return GenerationSettings(
            temperature=request.temperature if schedule is None else schedule,
            max_tokens=max(1, request.max_tokens),
            window=[_build_component(WINDOWS, spec, context) for spec in request.windows],
            fields=[self._build_field(spec, context) for spec in request.fields],
            potentials=[_build_component(POTENTIALS, spec, context) for spec in request.potentials],
            sampler=request.sampler,
            seed=secrets.randbits(48) if request.seed is None else request.seed,
            record=request.record,
            stop_token_ids=tuple(request.stop_token_ids),
            ignore_eos=request.ignore_eos,
            options=dict(request.options),
        )

    def _build_field(self, spec: ComponentSpec, context: BuildContext) -> Field:
        """Build a field; one with a label once, and its grammar without the guard against those of strangers."""
        if spec.label is None:
            return _build_component(FIELDS, spec, context)
        _, field = self._labeled.get(id(spec)) or (
            spec,
            build_labeled(FIELDS, spec, replace(context, grammar_guard=None)),
        )
        self._labeled[id(spec)] = spec, field
        self._labeled.move_to_end(id(spec))
        if len(self._labeled) > _MAX_LABELED:
            self._labeled.popitem(last=False)
        return field

    def _compile(self, request: Request, settings: GenerationSettings) -> CompiledRequest:
        try:
            sampler = build_sampler(repeat_prompts([request.prompt], settings, request.n)[1], request.n)
        except BadInput as error:
            error.param = error.param or ("options" if request.options else "sampler")
            raise
        rows = request.n if isinstance(sampler, TokenSampler) else sampler.max_rows(request.n)
        self._validate_cost(request, sampler, rows)
        schedule = settings.temperature
        by_clock = isinstance(schedule, Schedule) and not schedule.deterministic
        return CompiledRequest(
            request,
            settings,
            sampler,
            settings.resolve_stop_token_ids(self._model),
            StopStrings(tuple(request.stop)),
            rows if request.max_tokens else 0,
            build_batch_key(request),
            "the schedule depends on the clock" if by_clock else "",
        )

    def _validate_cost(self, request: Request, sampler: Sampler, rows: int) -> None:
        """Raise `BadInput` for a request that needs more rows, or might draw more tokens, than one may."""
        limits, options = self._options, ", ".join(request.options) or "n"
        param = next(iter(request.options), "n")
        if rows > limits.max_rows:
            raise BadInput(
                f"the request needs {rows} rows at once and there are {limits.max_rows}: lower {options}.", param=param
            )
        tokens = predict_tokens(sampler, request, rows)
        if not isinstance(sampler, Independent | TokenSampler) and tokens > limits.max_request_tokens:
            raise BadInput(
                f"the {request.sampler} sampler may draw {tokens} tokens with these options and a request at most "
                f"{limits.max_request_tokens}: lower max_tokens or {options}.",
                param=param,
            )


def predict_tokens(sampler: Sampler, request: Request, rows: int) -> int:
    """Return a bound on the tokens that a request draws."""
    if isinstance(sampler, TokenSampler):
        return rows * request.max_tokens
    return sampler.max_tokens_drawn(request.n, request.max_tokens) if request.max_tokens else 0


def _validate_options(request: Request, config: EngineConfig) -> None:
    offered = SAMPLERS.offered_specs
    if not isinstance(request.sampler, str) or request.sampler not in offered:
        raise BadInput(f"there is no sampler {request.sampler!r}: choose from {', '.join(offered)}.", param="sampler")
    limit = offered[request.sampler].request_limit
    too_large = None if limit is None else limit(dict(request.options))
    if too_large is not None:
        raise BadInput(f"the {request.sampler} sampler {too_large}", param="sampler")
    validate_request_options(offered[request.sampler], request.options)
    for param, given in (("windows", request.windows), ("fields", request.fields), ("potentials", request.potentials)):
        count = sum(each.label is None for each in given)
        if count > _MAX_COMPONENTS:
            raise BadInput(f"`{param}` takes at most {_MAX_COMPONENTS} components, got {count}.", param=param)
    if request.n < 1:
        raise BadInput(f"n is {request.n}: ask for at least 1 sequence.", param="n")
    if request.max_tokens < 0:
        raise BadInput(f"max_tokens is {request.max_tokens}: give at least 0.", param="max_tokens")
    validate_record_mode(request.record)
    if request.seed is not None and request.seed < 0:
        raise BadInput(f"the seed is {request.seed}: give a number from 0 up.", param="seed")
    if request.deadline is not None and not request.deadline > 0:
        raise BadInput(f"the deadline is {request.deadline} s: give a number above 0.", param="deadline")


def _validate_tokens(request: Request, settings: GenerationSettings, size: int) -> None:
    if request.continuations or request.further_prompts:
        _validate_continuations(request)
    for token in chain(request.prompt, settings.stop_token_ids, *request.continuations, *request.further_prompts):
        if not 0 <= token < size:
            raise BadInput(f"token id {token} is outside the vocabulary of {size}: give ids from 0 to {size - 1}.")
    if not 0 <= request.top_logprobs <= size:
        raise BadInput(
            f"`top_logprobs` must be from 0 to {size}, the size of the vocabulary, got {request.top_logprobs}.",
            param="top_logprobs",
        )


def _validate_continuations(request: Request) -> None:
    """Raise `BadInput` for continuations of a request that draws or scores something else, or without tokens."""
    if request.max_tokens or request.score_prompt:
        raise BadInput("continuations are scored alone: give max_tokens 0 and no score_prompt.", param="continuations")
    if not request.continuations or not all(request.continuations):
        raise BadInput("a continuation has no tokens: give each at least one.", param="continuations")


def _build_component(registry: Registry[T], spec: ComponentSpec, context: BuildContext) -> T:
    """Build a component that requests may name and whose value is not too large."""
    _validate_component(registry, spec)
    with _name_component_in_errors(registry, spec):
        return build(registry, (spec.name, spec.value), context)


def _validate_component(registry: Registry[Any], spec: ComponentSpec) -> None:
    kind, offered, param = registry.kind, registry.offered_specs, _param(registry)
    label = f"the {kind} {spec.name!r:.40}"
    if spec.name not in offered:
        message = f"there is no {kind} {spec.name!r:.40}: choose from {', '.join(offered)}."
        raise BadInput(message, param=param, component=spec.name)
    characters = len(json.dumps(spec.value))
    if characters > _MAX_VALUE_CHARACTERS:
        raise BadInput(
            f"the value of {label} has {characters} characters: give at most {_MAX_VALUE_CHARACTERS}.",
            param=param,
            component=spec.name,
        )
    limit = offered[spec.name].request_limit
    too_large = None if limit is None else limit(spec.value)
    if too_large is not None:
        raise BadInput(f"{label} {too_large}", param=param, component=spec.name)
    validate_request_value(offered[spec.name], spec.value)


@contextmanager
def _name_component_in_errors(registry: Registry[Any], spec: ComponentSpec) -> Iterator[None]:
    """Make errors name the component, and errors of any type `BadInput`."""
    param = _param(registry)
    try:
        yield
    except HeatbathError as error:
        error.param, error.component = error.param or param, error.component or spec.name
        raise
    except Exception as error:
        message = f"the {registry.kind} {spec.name!r:.40} cannot be built from {spec.value!r:.60}"
        raise BadInput(f"{message}: {type(error).__name__}.", param=param, component=spec.name) from error


def _param(registry: Registry[Any]) -> str:
    return registry.kind if registry.kind == "schedule" else f"{registry.kind}s"


def build_batch_key(request: Request) -> tuple[str, ...] | None:
    """Return the key of requests that are drawn together; None for one with a schedule or fields of its own."""
    if any(each.label is None for each in request.fields) or request.schedule is not None:
        return None
    return (
        request.sampler,
        json.dumps(request.options, sort_keys=True, default=repr),
        str(request.record),
        *(f"{each.name}={json.dumps(each.value, sort_keys=True)}" for each in request.windows),
        *(f"{each.label}:{id(each)}" for each in request.fields),
    )
