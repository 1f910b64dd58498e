"""Sampling parameters of the API as requests to the engine: windows, fields, stops, response formats and limits."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from heatbath.energy.json_schema import parse_schema
from heatbath.engine.base import ComponentSpec, ModelInfo, Request
from heatbath.errors import BadInput
from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.sampling import GenerationRequest, ResponseFormat, StructuredOutputs, ThermoOptions
from heatbath.serve.openai.structured_output import JsonForm, StructuredOutput, build_json_form
from heatbath.serve.openai.tool_calls import NO_TOOLS, Toolbox
from heatbath.serve.openai.validation import format_value

Tokens = tuple[int, ...]

_SEED_RANGE = 2**63
_IDS_PER_FIELD = 16_384
"""Token ids in one field, so that its value stays of a size that an engine accepts."""
_JSON_OBJECT = {"type": "object"}
_GRAMMARS = frozenset({"json_schema", "regex", "lark", "grammar"})
_NO_THERMO = ThermoOptions()


@dataclass(frozen=True)
class Extent:
    """The size of a request: `n` sequences of up to `max_tokens`, `top` alternatives for each token.

    `prompt_scores`: whether the tokens of the prompt are scored too.
    """

    max_tokens: int
    n: int = 1
    top: int = 0
    prompt_scores: bool = False


class Form(NamedTuple):
    """A format that the text must have: the parameter that asks for it, the field that enforces it, and its schema."""

    param: str
    field: ComponentSpec
    json: JsonForm | None = None


def build(
    context: RequestContext,
    body: GenerationRequest,
    *,
    prompts: Sequence[Tokens],
    extent: Extent,
    toolbox: Toolbox = NO_TOOLS,
) -> list[Request]:
    """Return the request to the engine for each of `prompts`.

    Raises:
        ApiError: 400 for values that contradict one another, the vocabulary or the limits of the server.
    """
    settings, language = context.services.settings, context.language
    limit = settings.limits.max_n
    if (body.n or 1) > limit:
        raise invalid_value(f"n is {body.n}: this server gives at most {limit} answers.", "n")
    if extent.n > limit:
        raise invalid_value(f"best_of is {extent.n}: this server draws at most {limit}.", "best_of")
    thermo = body.thermo or _NO_THERMO
    if body.thermo is not None:
        check_components(thermo)
    form = requested_form(body)
    grammar = form.field if form else None
    if body.stop_token_ids:
        _check_ids(body.stop_token_ids, language, "stop_token_ids")
    if toolbox.tools:
        grammar = toolbox.grammar(grammar)
    if toolbox.tools or (form and form.json):
        context.structured_output = StructuredOutput(form.json if form else None, toolbox.forms)
        context.http.state.headers.update(context.structured_output.headers)
    # The text of a requested format ends with it, since nothing can follow.
    ignore_eos = bool(body.ignore_eos) and form is None
    first = Request(
        prompts[0],
        f"{context.id}/0",
        context.tenant.name,
        salt=body.cache_salt or "",
        n=extent.n,
        max_tokens=extent.max_tokens,
        temperature=1.0 if body.temperature is None else body.temperature,
        schedule=_schedule(thermo.schedule) if thermo.schedule is not None else None,
        windows=(*_windows(body), *_components(thermo.windows, "windows")),
        fields=(*_fields(body, language), *((grammar,) if grammar else ()), *_components(thermo.fields, "fields")),
        potentials=tuple(_components(thermo.potentials, "potentials")),
        sampler=thermo.sampler or "ancestral",
        options=thermo.options,
        # Seeds of the API are signed, those of an engine are not; the one that is returned has to fit both.
        seed=None if body.seed is None else body.seed % _SEED_RANGE,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        keep_stop=bool(body.include_stop_str_in_output),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        ignore_eos=ignore_eos,
        record=thermo.record_mode or "state",
        top_logprobs=extent.top,
        score_prompt=extent.prompt_scores,
        priority=body.priority or 0,
        deadline=settings.engine.deadline_seconds,
    )
    requests = [first]
    for i, prompt in enumerate(prompts[1:], start=1):
        requests.append(replace(first, prompt=prompt, id=f"{context.id}/{i}"))
    return requests


def resolve_max_tokens(requested: int | None, available: int, limit: int, param: str, *, default: int = 0) -> int:
    """Return the most tokens of a completion: those `requested`, else `default`, else (0) all that fit.

    Raises:
        ApiError: 400 for more than fit or are allowed.
    """
    if requested is None:
        return min(default or available, available)
    if requested > limit:
        raise invalid_value(f"{param} is {requested}: this server gives at most {limit}.", param)
    if requested > available:
        room = f"after the prompt the context has room for {available}"
        message = f"{param} is {requested}, and {room}: ask for at most that."
        raise ApiError(400, message, code="context_length_exceeded", param=param)
    return requested


def available_tokens(language: ModelInfo, prompts: Sequence[Sequence[int]], limit: int, param: str) -> int:
    """Return the most tokens that can follow each of `prompts`, at most `limit`.

    Raises:
        ApiError: 400, a prompt is longer than the context.
    """
    context = language.context_length
    if context is None:
        return limit
    longest = max(map(len, prompts))
    if longest > context:
        message = f"the prompt has {longest} tokens and the context of {language.name} {context}: shorten it."
        raise ApiError(400, message, code="context_length_exceeded", param=param)
    # The last token drawn need not be read again.
    return min(limit, context - longest + 1)


def requested_form(body: GenerationRequest) -> Form | None:
    """Return the format that the text must have, None where any text will do.

    Raises:
        ApiError: 400 for more than one.
    """
    forms = list(_forms(body))
    if len(forms) > 1:
        first, second = forms[0].param, forms[1].param
        raise invalid_value(f"{second} asks for another form than {first}: give one of them.", second)
    return forms[0] if forms else None


def _forms(body: GenerationRequest) -> Iterator[Form]:
    """Yield what response_format, structured_outputs and the older guided parameters ask for."""
    if body.response_format is not None and body.response_format.type != "text":
        yield _response_format(body.response_format)
    if body.structured_outputs is not None:
        yield from _structured_outputs(body.structured_outputs)
    for kind in ("json", "regex", "choice", "grammar"):
        value = getattr(body, f"guided_{kind}")
        if value is not None:
            yield _form(f"guided_{kind}", kind, value)


def _response_format(format: ResponseFormat) -> Form:
    if format.type == "json_object":
        return _json_form(_JSON_OBJECT, "response_format")
    if format.json_schema is None:
        message = "response_format.json_schema is missing: give a name and a schema."
        raise invalid_value(message, "response_format.json_schema")
    schema = {} if format.json_schema.schema is None else format.json_schema.schema
    return _json_form(schema, "response_format.json_schema.schema", strict=bool(format.json_schema.strict))


def _structured_outputs(outputs: StructuredOutputs) -> Iterator[Form]:
    if outputs.structural_tag is not None:
        param = "structured_outputs.structural_tag"
        raise invalid_value(f"{param} is not served: give a grammar.", param)
    for kind in ("json", "regex", "choice", "grammar"):
        value = getattr(outputs, kind)
        if value is not None:
            yield _form(f"structured_outputs.{kind}", kind, value)
    if outputs.json_object:
        yield _json_form(_JSON_OBJECT, "structured_outputs.json_object")


def _form(param: str, kind: str, value: Any) -> Form:
    if kind == "json":
        return _json_form(_parse_schema(value, param) if isinstance(value, str) else value, param)
    if kind == "choice":
        return Form(
            param, ComponentSpec("lark", "start: " + " | ".join(json.dumps(text, ensure_ascii=False) for text in value))
        )
    return Form(param, ComponentSpec("regex" if kind == "regex" else "lark", value))


def _json_form(schema: Any, param: str, *, strict: bool = False) -> Form:
    form = build_json_form(schema, param, strict=strict)
    return Form(param, form.field, form)


def _parse_schema(text: str, param: str) -> Any:
    try:
        return parse_schema(text)
    except BadInput as error:
        raise invalid_value(f"{param}: {error}", param) from None


def request_param(error: BadInput, body: GenerationRequest) -> str | None:
    """Return the parameter of the API that made the engine refuse the request, as far as the error says."""
    if error.param == "fields" and error.component in _GRAMMARS:
        if getattr(body, "tools", None) and getattr(body, "tool_choice", None) != "none":
            return "tools"
        form = requested_form(body)
        if form is not None:
            return form.param
    if error.param in ("temperature", "n"):
        return error.param
    return "thermo" if body.thermo is not None else None


def _windows(body: GenerationRequest) -> Iterator[ComponentSpec]:
    """Yield the windows in the order users expect: by rank first, then by mass, then by threshold."""
    if body.top_k is not None and body.top_k > 0:
        yield ComponentSpec("top_k", body.top_k)
    if body.top_p is not None and body.top_p < 1:
        # No mass at all still leaves the most probable token.
        yield ComponentSpec("top_p", body.top_p) if body.top_p > 0 else ComponentSpec("top_k", 1)
    if body.min_p:
        yield ComponentSpec("min_p", body.min_p)
    if body.typical_p is not None and 0 < body.typical_p < 1:
        yield ComponentSpec("typical", body.typical_p)
    if body.top_n_sigma is not None and body.top_n_sigma > 0:
        yield ComponentSpec("top_n_sigma", body.top_n_sigma)
    for name, value in (("epsilon", body.epsilon_cutoff), ("eta", body.eta_cutoff)):
        if value is not None and 0 < value < 1:
            yield ComponentSpec(name, value)
    if body.xtc_probability and body.xtc_threshold:
        yield ComponentSpec(
            "exclude_top_choices", {"threshold": body.xtc_threshold, "probability": body.xtc_probability}
        )


def _fields(body: GenerationRequest, language: ModelInfo) -> Iterator[ComponentSpec]:
    if body.repetition_penalty is not None and body.repetition_penalty != 1:
        yield ComponentSpec("repetition", body.repetition_penalty)
    if body.presence_penalty:
        yield ComponentSpec("presence", body.presence_penalty)
    if body.frequency_penalty:
        yield ComponentSpec("frequency", body.frequency_penalty)
    if body.dry_multiplier:
        yield ComponentSpec("dry", body.dry_multiplier)
    bias = _token_bias(body.logit_bias, language) if body.logit_bias else {}
    if bias:
        yield ComponentSpec("bias", bias)
    if body.min_tokens:
        yield ComponentSpec("min_length", body.min_tokens)
    if body.bad_words:
        yield ComponentSpec("forbid", list(body.bad_words))
    if body.allowed_token_ids is not None:
        yield from _forbid_others(body.allowed_token_ids, language)


def _token_bias(given: Mapping[str, float], language: ModelInfo) -> dict[str, float]:
    """Return the biases by token id. A bias of 0 changes nothing, whatever it is for."""
    bias = {name: value for name, value in given.items() if value}
    for name in bias:
        if not (name.isascii() and name.isdigit() and int(name[:10]) < language.vocabulary.size and len(name) <= 10):
            message = f"logit_bias holds {format_value(name)}: give token ids below {language.vocabulary.size}."
            raise invalid_value(message, "logit_bias")
    return bias


def _forbid_others(allowed: Sequence[int], language: ModelInfo) -> Iterator[ComponentSpec]:
    _check_ids(allowed, language, "allowed_token_ids")
    allowed_ids = frozenset(allowed)
    others = [token for token in range(language.vocabulary.size) if token not in allowed_ids]
    for start in range(0, len(others), _IDS_PER_FIELD):
        yield ComponentSpec("forbid_tokens", others[start : start + _IDS_PER_FIELD])


def _check_ids(tokens: Sequence[int], language: ModelInfo, param: str) -> None:
    size = language.vocabulary.size
    wrong = next((token for token in tokens if not 0 <= token < size), None)
    if wrong is not None:
        raise invalid_value(f"{param} holds {wrong}: give token ids below {size}.", param)


def _schedule(given: str | dict[str, Any]) -> ComponentSpec:
    if isinstance(given, str):
        return ComponentSpec(given)
    if len(given) != 1:
        raise invalid_value(f"thermo.schedule names {len(given)} schedules: give one.", "thermo.schedule")
    return ComponentSpec(*next(iter(given.items())))


def _components(given: dict[str, Any] | list[Any], param: str) -> Iterator[ComponentSpec]:
    """Yield the components of {name: value, …} or of a list of names and {name: value}."""
    for i, item in enumerate([given] if isinstance(given, dict) else given):
        if isinstance(item, str):
            yield ComponentSpec(item)
        elif isinstance(item, dict) and (item is given or len(item) == 1):
            for name, value in item.items():
                yield ComponentSpec(name, value)
        else:
            place = f"thermo.{param}[{i}]"
            raise invalid_value(f"{place} is not a name with its value: write {{name: value}}.", place)


def check_components(thermo: ThermoOptions) -> None:
    """Raise `ApiError`, 400 with the parameter, for a component that is not offered to requests."""
    # Imports every sampler, which a server without such requests need not load.
    from heatbath.engine.registry import FIELDS, POTENTIALS, SAMPLERS, SCHEDULES, WINDOWS

    if thermo.record is not None and thermo.records is not False:
        message = "thermo.records is another name of thermo.record: give one of them."
        raise invalid_value(message, "thermo.records")
    schedule = thermo.schedule or {}
    _check_names("sampler", [thermo.sampler] if thermo.sampler else [], SAMPLERS.offered_specs)
    _check_names("schedule", [schedule] if isinstance(schedule, str) else schedule, SCHEDULES.offered_specs)
    _check_names("windows", _names(thermo.windows), WINDOWS.offered_specs)
    _check_names("fields", _names(thermo.fields), FIELDS.offered_specs)
    _check_names("potentials", _names(thermo.potentials), POTENTIALS.offered_specs)


def _names(given: dict[str, Any] | list[Any]) -> Iterator[str]:
    for item in [given] if isinstance(given, dict) else given:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item


def _check_names(param: str, names: Iterable[str], offered: Iterable[str]) -> None:
    known = list(offered)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name[:64], known, n=1)
            hint = f", did you mean {near[0]}" if near else ""
            message = f"thermo.{param} names {format_value(name)}{hint}: choose from {', '.join(known)}."
            raise invalid_value(message, f"thermo.{param}")
