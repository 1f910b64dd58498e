"""Sampling parameters of the API as requests to the engine: windows, fields, stops, response formats and limits."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from heatbath.engine.base import ComponentSpec, ModelInfo, Request
from heatbath.errors import BadInput
from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.openai.confidence_request import prepare_confidence
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.sampling_components import (
    PARAM_OF_COMPONENT,
    check_token_ids,
    request_fields,
    request_windows,
)
from heatbath.serve.openai.schema.sampling import GenerationRequest, ThermoOptions
from heatbath.serve.openai.structured_output import (
    Form,
    StructuredOutput,
    build_form,
    build_response_format,
    build_structured_outputs,
)
from heatbath.serve.openai.tool_calls import NO_TOOLS, Toolbox
from heatbath.serve.openai.validation import format_value

Tokens = tuple[int, ...]

_SEED_RANGE = 2**63
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
    if extent.n > 1 or body.min_tokens:
        _check_extent(body, extent, min(settings.limits.max_n, settings.engine.max_rows))
    thermo = body.thermo or _NO_THERMO
    if body.thermo is not None:
        _check_thermo(context, thermo)
    form = requested_form(body)
    own = form.field if form else None
    grammar = toolbox.grammar(own) if toolbox.tools else own
    if toolbox.tools or (form and form.json):
        _require_structured_output(context, form, toolbox)
    if body.stop_token_ids:
        check_token_ids(body.stop_token_ids, language, "stop_token_ids")
    steering = _components(thermo.fields, "fields") if thermo.fields else ()
    first = Request(
        prompts[0],
        f"{context.id}/0",
        context.tenant.name,
        salt=body.cache_salt or "",
        n=extent.n,
        max_tokens=extent.max_tokens,
        min_tokens=body.min_tokens or 0,
        # Adding 0 makes a positive zero of a negative one.
        temperature=1.0 if body.temperature is None else body.temperature + 0.0,
        schedule=_schedule(thermo.schedule) if thermo.schedule is not None else None,
        windows=(*request_windows(body), *(_components(thermo.windows, "windows") if thermo.windows else ())),
        fields=(*request_fields(body, language), *((grammar,) if grammar else ()), *steering),
        potentials=tuple(_components(thermo.potentials, "potentials")) if thermo.potentials else (),
        sampler=thermo.sampler or "ancestral",
        options=thermo.options,
        # Seeds of the API are signed, those of an engine are not; the one that is returned has to fit both.
        seed=None if body.seed is None else body.seed % _SEED_RANGE,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        keep_stop=bool(body.include_stop_str_in_output),
        stop_token_ids=tuple(body.stop_token_ids or ()),
        # The text of a requested format ends with it, since nothing can follow.
        ignore_eos=bool(body.ignore_eos) and form is None,
        record=(body.thermo and body.thermo.record_mode) or "state",
        top_logprobs=extent.top,
        score_prompt=extent.prompt_scores,
        priority=body.priority or 0,
        deadline=settings.engine.deadline_seconds,
    )
    if context.evidence is not None or context.gate is not None:
        first = context.steer(first)
    if context.services.calibrator is not None or thermo.require is not None:
        first = prepare_confidence(context, body, first)
    requests = [first]
    for i, prompt in enumerate(prompts[1:], start=1):
        requests.append(replace(first, prompt=prompt, id=f"{context.id}/{i}"))
    return requests


def _check_thermo(context: RequestContext, thermo: ThermoOptions) -> None:
    check_components(thermo)
    if thermo.prompt is not None and context.prompt is None:
        raise invalid_value("thermo.prompt begins a conversation: use a chat, or leave it out.", "thermo.prompt")


def _check_extent(body: GenerationRequest, extent: Extent, limit: int) -> None:
    """Raise `ApiError` for more than `limit` sequences, and for a minimum of tokens above their maximum."""
    if (body.n or 1) > limit:
        raise invalid_value(f"n is {body.n}: this server gives at most {limit} answers.", "n")
    if extent.n > limit:
        raise invalid_value(f"best_of is {extent.n}: this server draws at most {limit}.", "best_of")
    least, longest = body.min_tokens or 0, extent.max_tokens
    if least > longest:
        message = f"min_tokens is {least} and a completion has at most {longest} tokens: raise max_tokens or lower it."
        raise invalid_value(message, "min_tokens")


def resolve_max_tokens(
    requested: int | None, available: int, limit: int, param: str, *, default: int = 0, context: int | None = None
) -> int:
    """Return the most tokens of a completion: those `requested`, else `default`, else (0) all that fit.

    `context` is the length of the model's context, for the message.

    Raises:
        ApiError: 400 for more than fit or are allowed.
    """
    if requested is None:
        return min(default or available, available)
    if requested > limit:
        raise invalid_value(f"{param} is {requested}: this server gives at most {limit}.", param)
    if requested > available:
        size = f"{context} tokens" if context else "limited"
        message = (
            f"This model's maximum context length is {size}. However, {param} is {requested} and the prompt leaves "
            f"room for {available}: ask for at most that."
        )
        raise ApiError(400, message, code="context_length_exceeded", param=param)
    return requested


def _require_structured_output(context: RequestContext, form: Form | None, toolbox: Toolbox) -> None:
    """Have the response checked against the schemas of the request, and the keywords named that no grammar has."""
    context.structured_output = StructuredOutput(form.json if form else None, toolbox.forms)
    context.http.state.headers.update(context.structured_output.headers)


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
        raise context_overflow(context, longest, param)
    # The last token drawn need not be read again.
    return min(limit, context - longest + 1)


def context_overflow(context: int, tokens: int, param: str) -> ApiError:
    """Return a 400 for a prompt that is longer than the context.

    Its beginning is OpenAI's: clients that shorten a conversation or go to another model recognise it, or the code.
    """
    message = (
        f"This model's maximum context length is {context} tokens. However, your {param} resulted in {tokens} tokens: "
        f"shorten the {param}."
    )
    return ApiError(400, message, code="context_length_exceeded", param=param)


def requested_form(body: GenerationRequest) -> Form | None:
    """Return the format that the text must have, None where any text will do.

    Raises:
        ApiError: 400 for more than one.
    """
    forms = list(_forms(body))
    for other in forms[1:]:
        if other.canonical_value != forms[0].canonical_value:
            message = f"{other.param} asks for another form than {forms[0].param}: give one of them."
            raise invalid_value(message, other.param)
    return forms[0] if forms else None


def _forms(body: GenerationRequest) -> Iterator[Form]:
    """Yield what structured_outputs, the older guided parameters and response_format ask for, the narrowest first."""
    if body.structured_outputs is not None:
        yield from build_structured_outputs(body.structured_outputs)
    if body.guided_whitespace_pattern is not None and body.guided_json is None:
        message = "guided_whitespace_pattern has no effect without guided_json: leave it out."
        raise invalid_value(message, "guided_whitespace_pattern")
    for kind in ("json", "regex", "choice", "grammar"):
        value = getattr(body, f"guided_{kind}")
        if value is not None:
            yield build_form(f"guided_{kind}", kind, value, whitespace=body.guided_whitespace_pattern)
    # The names of SGLang.
    if body.regex is not None:
        yield build_form("regex", "regex", body.regex)
    if body.json_schema is not None:
        yield build_form("json_schema", "json", body.json_schema)
    if body.ebnf is not None:
        yield build_form("ebnf", "grammar", body.ebnf)
    if body.response_format is not None and body.response_format.type != "text":
        yield build_response_format(body.response_format)


def request_param(error: BadInput, body: GenerationRequest) -> str | None:
    """Return the parameter of the API that made the engine refuse the request, as far as the error says."""
    if error.param == "fields" and error.component in _GRAMMARS:
        if getattr(body, "tools", None) and getattr(body, "tool_choice", None) != "none":
            return "tools"
        form = requested_form(body)
        if form is not None:
            return form.param
    own = PARAM_OF_COMPONENT.get(error.component or "", error.param)
    if own is not None and getattr(body, own, None) is not None:
        return own
    if body.thermo is None:
        return error.param if error.param in ("temperature", "n", "max_tokens") else None
    if error.param in body.thermo.options:
        return f"thermo.options.{error.param}"
    given = error.param and getattr(body.thermo, error.param, None)
    return f"thermo.{error.param}" if given else "thermo"


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
