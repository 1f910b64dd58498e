"""Request bodies: from bytes to a checked struct. Errors name the field; unknown fields are listed or refused."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.openai.refusals import MESSAGE_REFUSALS, WITHOUT_NOTICE, Refusal
from heatbath.serve.openai.schema.chat import FIELDS_OF_MESSAGES, ChatRequest
from heatbath.serve.openai.schema.models import TokenizeRequest

T = TypeVar("T", bound=msgspec.Struct)

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
_UNITS = {"str": "character", "array": "item", "object": "field"}
_MAX_VALUE_LENGTH = 60
_MAX_IGNORED = 32
_CASE_CHANGE = re.compile("(?<=[a-z])(?=[A-Z])")
_MISSPELLING = 0.85
"""Likeness from which an unknown name is taken for a misspelt field."""


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
    if "logit_bias" in value:
        _check_repeated_names(body)
    try:
        request = msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        try:
            request = msgspec.convert(_with_whole_numbers(value), type)
        except msgspec.ValidationError:
            raise _validation_error(str(error), value, type) from None
    ignored: list[str] = []
    for name, given in value.items():
        if name not in type.__struct_encode_fields__ and given is not None:
            _check_refusal(name, name, given, refusals)
            _check_spelling(name, type.__struct_encode_fields__)
            if name not in WITHOUT_NOTICE:
                ignored.append(name)
        elif name == "messages" and given and issubclass(type, ChatRequest | TokenizeRequest):
            ignored += _list_extra_fields(given)
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


def _check_repeated_names(body: bytes) -> None:
    """Refuse a body in which an object has one name twice, of which JSON readers keep the last without a word."""

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise invalid_value(
                f"{format_value(twice)} is given twice in one object: give it once.",
                "logit_bias" if twice.isdigit() else twice[:64],
            )
        return found

    json.loads(body, object_pairs_hook=collect)


def _with_whole_numbers(value: dict[str, Any]) -> dict[str, Any]:
    """Return a body with whole numbers for floats such as 2.0 at its top level, as some clients write them."""
    return {
        name: int(given) if isinstance(given, float) and given.is_integer() else given for name, given in value.items()
    }


def _check_refusal(name: str, param: str, value: Any, refusals: Mapping[str, Refusal]) -> None:
    if name in refusals:
        is_refused, reason = refusals[name]
        if is_refused(value):
            message = f"{param} is not served: leave it out, this server {reason}."
            raise ApiError(400, message, code="unsupported_parameter", param=param)


def _check_spelling(name: str, known: Sequence[str]) -> None:
    """Refuse a name that is nearly that of a field, since what was meant would be lost."""
    plain = _CASE_CHANGE.sub("_", name[:64]).lower().replace("-", "_")
    near = difflib.get_close_matches(plain, known, n=1, cutoff=_MISSPELLING)
    if near:
        raise invalid_value(f"{format_value(name)} is not a field: did you mean {near[0]}?", name[:64])


def _list_extra_fields(messages: list[dict[str, Any]]) -> list[str]:
    """Return the paths of fields that messages, their parts and calls have and the schema lacks, each path once.

    Clients send back what another server has added to a message; a field that changes the meaning is refused.
    """
    found: dict[str, None] = {}
    for i, message in enumerate(messages):
        if message.keys() <= {"role", "content"} and isinstance(message.get("content"), str):
            continue
        for place, part in _walk_message(message):
            for name, given in part.items():
                if name not in FIELDS_OF_MESSAGES[place] and given is not None:
                    if not place:
                        _check_refusal(name, f"messages[{i}].{name}", given, MESSAGE_REFUSALS)
                    found[f"messages.{place}{name}"] = None
    return list(found)


def _walk_message(message: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a message, its parts and its calls, each with its place in `FIELDS_OF_MESSAGES`."""
    yield "", message
    if isinstance(message.get("content"), list):
        for part in message["content"]:
            yield "content.", part
    for call in message.get("tool_calls") or ():
        yield "tool_calls.", call
        yield "tool_calls.function.", call["function"]
    if message.get("function_call"):
        yield "function_call.", message["function_call"]


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
    bound = re.search(r"(of length )?(>=|<=|<|>) (\S+)", match[2])
    if bound is not None:
        return " or ".join(kinds) + _format_bound(*bound.groups(), unit=_UNITS.get(match[1].split(" | ")[0], "item"))
    pattern = re.search(r"matching regex '(.*)'", match[2])
    return " or ".join(kinds) + (f" that matches {pattern[1]}" if pattern else "")


def _format_bound(length: str | None, sign: str, limit: str, *, unit: str) -> str:
    words = {">=": "at least", "<=": "at most", "<": "less than", ">": "more than"}[sign]
    limit = limit.removesuffix(".0")
    if not length:
        return f" of {words} {limit}"
    return f" with {words} {limit} {unit}{'' if limit == '1' else 's'}"


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
