"""Request bodies: from bytes to a checked struct. Errors name the field; unknown fields are listed or refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from heatbath.serve.errors import ApiError, invalid_value

T = TypeVar("T", bound=msgspec.Struct)
Refusal = tuple[Callable[[Any], bool], str]
"""Which values of a field are refused, and why."""

_PATH = re.compile(r" - at `\$\.?(.*)`$")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TYPE_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_MAX_VALUE_LENGTH = 60
_MAX_IGNORED = 32


def _always(value: Any) -> bool:
    return True


def _is_other_than_text(value: Any) -> bool:
    return bool(value != ["text"])


def _is_blocking(value: Any) -> bool:
    policy = value.get("policy") if isinstance(value, dict) else value
    sides = policy.values() if isinstance(policy, dict) else ()
    return not isinstance(value, dict) or any(isinstance(side, dict) and side.get("mode") == "block" for side in sides)


# `bool` refuses a field that asks for anything: neither null nor false, empty or zero.
_COMMON: Mapping[str, Refusal] = {
    "truncate_prompt_tokens": (bool, "truncates no prompts; shorten the prompt instead"),
    "use_beam_search": (bool, "uses beam search only where thermo.sampler is beam"),
    "logits_processors": (bool, "runs no code of a request; see thermo.fields"),
    "logits_processor": (bool, "runs no code of a request; see thermo.fields"),
    "logprob_token_ids": (bool, "returns the most probable tokens only"),
    "prompt_embeds": (bool, "takes text and token ids only"),
    "prompt_mask": (bool, "reads whole prompts"),
    "kv_transfer_params": (bool, "does not transfer its cache"),
    "vllm_xargs": (bool, "takes no such arguments"),
    "best_of_sampling": (bool, "takes best_of in completions only"),
}
_CHAT: Mapping[str, Refusal] = {
    "modalities": (_is_other_than_text, "responds in text only"),
    "audio": (_always, "responds in text only"),
    "web_search_options": (_always, "does not search the web"),
    "moderation": (_is_blocking, "has no moderation"),
    "functions": (bool, "takes functions as tools; give tools and tool_choice"),
    "function_call": (lambda value: value not in ("none", "auto"), "takes functions as tools; give tool_choice"),
    "echo": (bool, "takes echo in completions only"),
    "best_of": (lambda value: value != 1, "takes best_of in completions only"),
    "suffix": (bool, "does not support insertion before a suffix"),
    "chat_template": (bool, "uses the model's own template"),
    "documents": (bool, "passes no documents to the template; put them into a message"),
    "add_special_tokens": (bool, "leaves special tokens to the model's template"),
}
_COMPLETIONS: Mapping[str, Refusal] = {
    "suffix": (bool, "does not support insertion before a suffix"),
    "add_special_tokens": (lambda value: value is not True, "adds what the tokenizer adds; give token ids instead"),
    "messages": (_always, "takes messages at /v1/chat/completions"),
    "tools": (bool, "takes tools at /v1/chat/completions"),
}
_RESPONSES: Mapping[str, Refusal] = {
    "background": (bool, "runs nothing in the background; keep the connection open, or stream"),
    "conversation": (_always, "keeps no conversations; give previous_response_id"),
    "prompt": (_always, "keeps no prompt templates; give instructions and input"),
    "context_management": (bool, "compacts nothing by itself; see truncation"),
    "moderation": (_is_blocking, "has no moderation"),
    "messages": (_always, "takes messages in input"),
    "max_completion_tokens": (_always, "takes max_output_tokens"),
    "functions": (bool, "takes functions as tools; give tools and tool_choice"),
    "audio": (_always, "responds in text only"),
    "modalities": (_is_other_than_text, "responds in text only"),
}
CHAT_REFUSALS = {**_COMMON, **_CHAT}
COMPLETION_REFUSALS = {**_COMMON, **_COMPLETIONS}
RESPONSE_REFUSALS = {**_COMMON, **_RESPONSES}
_WITHOUT_NOTICE = frozenset(
    {"modalities", "echo", "best_of", "suffix", "use_beam_search", "function_call", "add_special_tokens", "background"}
)
"""Fields whose accepted values ask for what is done anyway: they are not listed as ignored."""


def decode_body(
    body: bytes, type: type[T], refusals: Mapping[str, Refusal], *, max_depth: int = 64
) -> tuple[T, list[str]]:
    """Return the request in `body`, and the names of its fields that `type` lacks and that have no effect.

    Raises:
        ApiError: 400 that names the field, also for one that `refusals` has and whose value would change the result.
    """
    value = _parse_json(body)
    if not isinstance(value, dict):
        raise invalid_value(f"the body is {format_value(value)}: send a JSON object.", None)
    _check_depth(value, max_depth)
    try:
        request = msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise _validation_error(str(error), value, type) from None
    ignored: list[str] = []
    for name, given in value.items():
        if name not in type.__struct_encode_fields__ and given is not None:
            _check_refusal(name, given, refusals)
            if name not in _WITHOUT_NOTICE:
                ignored.append(name)
    return request, ignored


def convert_value(value: Any, type: Any, place: str) -> Any:
    """Return `value`, which stands at `place` of a body, as a struct. Raises `ApiError`, 400 that names its field."""
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        inner = _validation_error(str(error), value, type)
        param = f"{place}.{inner.param}" if inner.param else place
        message = inner.message if inner.param is None else f"{place}.{inner.message}"
        raise invalid_value(message.replace("the body", place), param, inner.code or "invalid_value") from None


def _check_refusal(name: str, value: Any, refusals: Mapping[str, Refusal]) -> None:
    if name in refusals:
        is_refused, reason = refusals[name]
        if is_refused(value):
            message = f"{name} is not served: leave it out, this server {reason}."
            raise ApiError(400, message, code="unsupported_parameter", param=name)


def ignored_header(names: list[str]) -> dict[str, str]:
    """Return the header that lists fields which were accepted and had no effect."""
    if not names:
        return {}
    shown = [name if _PLAIN_NAME.fullmatch(name) else "?" for name in names[:_MAX_IGNORED]]
    return {"x-heatbath-ignored": ", ".join(shown)}


def _parse_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError as error:
        raise _malformed_json(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise invalid_value("the body is nested too deep: send a flatter one.", None) from None
    except msgspec.DecodeError as error:
        param = _infinite_param(body)
        if param is not None:
            raise invalid_value(
                f"{param} is not a finite number: give one, JSON has no NaN and no infinity.", param
            ) from None
        raise _malformed_json(_without_prefix(str(error))) from None


def _malformed_json(why: str) -> ApiError:
    return ApiError(400, f"the body is not valid JSON ({why}): send a JSON object in UTF-8.", code="invalid_json")


def _without_prefix(message: str) -> str:
    return message.split(" - at `")[0].removeprefix("JSON is malformed: ").rstrip(".")


def _infinite_param(body: bytes) -> str | None:
    """Return the place of the first number that is not finite, which lenient JSON writers produce."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for place, found in _walk_values(value):
        if isinstance(found, float) and not math.isfinite(found):
            return place
    return None


def _walk_values(value: Any) -> Iterator[tuple[str, Any]]:
    waiting = [("", value)]
    while waiting:
        place, found = waiting.pop()
        yield place, found
        if isinstance(found, dict):
            waiting += [(f"{place}.{name}" if place else name, inner) for name, inner in found.items()]
        elif isinstance(found, list):
            waiting += [(f"{place}[{i}]", inner) for i, inner in enumerate(found)]


def _check_depth(value: Any, limit: int) -> None:
    level = [value]
    for _ in range(limit):
        inner: list[Any] = []
        for outer in level:
            for each in outer.values() if isinstance(outer, dict) else outer:
                if isinstance(each, dict | list):
                    inner.append(each)
        level = inner
        if not level:
            return
    raise invalid_value(f"the body is nested more than {limit} deep: send a flatter one.", None)


def _validation_error(message: str, value: Any, type: Any) -> ApiError:
    """Return the message of msgspec as one sentence with the value and what to give."""
    place = _PATH.search(message)
    param = "" if place is None else place[1].split("[...]")[0].rstrip(".")
    what = _PATH.sub("", message)
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing:
        param = f"{param}.{missing[1]}" if param else missing[1]
        return invalid_value(f"{param} is missing: give it.", param, "missing_required_parameter")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    if unknown:
        inner = f"{param}.{unknown[1]}" if _PLAIN_NAME.fullmatch(unknown[1]) else param
        return invalid_value(
            f"{param} holds {format_value(unknown[1])}, which is not one of its fields: leave it out.", inner
        )
    found = _value_at(value, param)
    return invalid_value(
        f"{param or 'the body'} is {format_value(found)}: give {_describe_expected(what, type, param)}.", param or None
    )


def _value_at(value: Any, param: str) -> Any:
    for name, index in _STEP.findall(param):
        value = value[name] if name else value[int(index)]
    return value


def _describe_expected(what: str, type: Any, param: str) -> str:
    if what.startswith(("Invalid enum value", "Invalid value")):
        options = sorted({json.dumps(each) for each in _literals(inspect.type_info(type), _STEP.findall(param))})
        return f"one of {', '.join(options)}" if len(options) > 1 else "".join(options) or "another"
    match = re.match(r"Expected `([^`]*)`(.*)", what)
    if match is None:
        return "another"
    kinds = [_TYPE_NAMES.get(kind, kind) for kind in match[1].split(" | ") if kind != "null"]
    bound = re.search(r"(of length )?(>=|<=|<|>) ([-\d.]+)", match[2])
    return " or ".join(kinds) + (_format_bound(*bound.groups()) if bound else "")


def _format_bound(length: str | None, sign: str, limit: str) -> str:
    words = {">=": "at least", "<=": "at most", "<": "less than", ">": "more than"}[sign]
    limit = limit.removesuffix(".0")
    if not length:
        return f" of {words} {limit}"
    return f" with {words} {limit} item{'' if limit == '1' else 's'}"


def _literals(info: Any, steps: list[tuple[str, str]]) -> Iterator[Any]:
    """Yield the values that the literal at the end of a path may have."""
    if isinstance(info, inspect.UnionType):
        for each in info.types:
            yield from _literals(each, steps)
    elif isinstance(info, inspect.Metadata):
        yield from _literals(info.type, steps)
    elif isinstance(info, inspect.LiteralType) and not steps:
        yield from info.values
    elif isinstance(info, inspect.StructType) and info.tag_field and steps == [(info.tag_field, "")]:
        yield info.tag
    elif isinstance(info, inspect.StructType) and steps:
        for field in info.fields:
            if field.encode_name == steps[0][0]:
                yield from _literals(field.type, steps[1:])
    elif isinstance(info, inspect.ListType) and steps:
        yield from _literals(info.item_type, steps[1:])


def format_value(value: Any) -> str:
    """Return a value as JSON for a message, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_VALUE_LENGTH else text[: _MAX_VALUE_LENGTH - 1] + "…"
