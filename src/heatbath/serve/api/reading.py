"""From the bytes of a body to a checked request: what is wrong is named by its place, what is unknown is told."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from heatbath.serve.errors import ApiError, invalid_value

T = TypeVar("T", bound=msgspec.Struct)

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_HARMLESS = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_SHOWN = 60
_MOST_IGNORED = 32


def decoded(body: bytes, type: type[T], *, depth: int = 64) -> tuple[T, dict[str, Any]]:
    """The request in `body`, and the fields it holds that `type` does not know, those with a value.

    Raises:
        ApiError: 400 that names the field.
    """
    value = _json(body)
    if not isinstance(value, dict):
        raise invalid_value(f"the body is {shown(value)}: send a JSON object.", None)
    _check_depth(value, depth)
    known = set(type.__struct_encode_fields__)
    unknown = {name: given for name, given in value.items() if name not in known and given is not None}
    try:
        return msgspec.convert(value, type), unknown
    except msgspec.ValidationError as error:
        raise _named(str(error), value, type) from None


def ignored(names: list[str]) -> dict[str, str]:
    """The header that lists fields which were accepted and changed nothing."""
    shown = [name if _HARMLESS.fullmatch(name) else "?" for name in names[:_MOST_IGNORED]]
    return {"x-heatbath-ignored": ", ".join(shown)} if shown else {}


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError as error:
        raise _malformed(f"byte {error.start} is no UTF-8") from None
    except RecursionError:
        raise invalid_value("the body is nested too deep: send a flatter one.", None) from None
    except msgspec.DecodeError as error:
        param = _not_finite(body)
        if param is not None:
            raise invalid_value(
                f"{param} is no finite number: give one, JSON has no NaN and no infinity.", param
            ) from None
        raise _malformed(_plain(str(error))) from None


def _malformed(why: str) -> ApiError:
    return ApiError(400, f"the body is no JSON ({why}): send a JSON object in UTF-8.", code="invalid_json")


def _plain(message: str) -> str:
    return message.split(" - at `")[0].removeprefix("JSON is malformed: ").rstrip(".")


def _not_finite(body: bytes) -> str | None:
    """The place of the first number that is not finite, as lenient writers of JSON put it."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return next((place for place, found in _walk(value) if isinstance(found, float) and not math.isfinite(found)), None)


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    waiting = [("", value)]
    while waiting:
        place, found = waiting.pop()
        yield place, found
        if isinstance(found, dict):
            waiting += [(f"{place}.{name}" if place else name, inner) for name, inner in found.items()]
        elif isinstance(found, list):
            waiting += [(f"{place}[{i}]", inner) for i, inner in enumerate(found)]


def _check_depth(value: Any, depth: int) -> None:
    level = [value]
    for _ in range(depth):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]
        if not level:
            return
    raise invalid_value(f"the body is nested more than {depth} deep: send a flatter one.", None)


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _named(message: str, value: Any, type: Any) -> ApiError:
    """What msgspec found, as one sentence with the value and the way out."""
    place = _PLACE.search(message)
    param = "" if place is None else place[1].split("[...]")[0].rstrip(".")
    what = _PLACE.sub("", message)
    missing = re.fullmatch(r"Object missing required field `(.*)`", what)
    if missing:
        param = f"{param}.{missing[1]}" if param else missing[1]
        return invalid_value(f"{param} is missing: give it.", param, "missing_required_parameter")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", what)
    if unknown:
        inner = f"{param}.{unknown[1]}" if _HARMLESS.fullmatch(unknown[1]) else param
        return invalid_value(f"{param} holds {shown(unknown[1])}, which is none of its fields: leave it out.", inner)
    found = _found(value, param)
    return invalid_value(f"{param or 'the body'} is {shown(found)}: give {_wanted(what, type, param)}.", param or None)


def _found(value: Any, param: str) -> Any:
    for name, index in _STEP.findall(param):
        value = value[name] if name else value[int(index)]
    return value


def _wanted(what: str, type: Any, param: str) -> str:
    if what.startswith(("Invalid enum value", "Invalid value")):
        options = sorted({json.dumps(each) for each in _options(inspect.type_info(type), _STEP.findall(param))})
        return f"one of {', '.join(options)}" if len(options) > 1 else "".join(options) or "another"
    match = re.match(r"Expected `([^`]*)`(.*)", what)
    if match is None:
        return "another"
    kinds = [_KINDS.get(kind, kind) for kind in match[1].split(" | ") if kind != "null"]
    bound = re.search(r"(of length )?(>=|<=|<|>) ([-\d.]+)", match[2])
    return " or ".join(kinds) + (_bound(*bound.groups()) if bound else "")


def _bound(length: str | None, sign: str, limit: str) -> str:
    words = {">=": "at least", "<=": "at most", "<": "less than", ">": "more than"}[sign]
    limit = limit.removesuffix(".0")
    if not length:
        return f" of {words} {limit}"
    return f" with {words} {limit} item{'' if limit == '1' else 's'}"


def _options(info: Any, steps: list[tuple[str, str]]) -> Iterator[Any]:
    """The values that a field of literals may have, wherever the way to it leads."""
    if isinstance(info, inspect.UnionType):
        for each in info.types:
            yield from _options(each, steps)
    elif isinstance(info, inspect.Metadata):
        yield from _options(info.type, steps)
    elif isinstance(info, inspect.LiteralType) and not steps:
        yield from info.values
    elif isinstance(info, inspect.StructType) and info.tag_field and steps == [(info.tag_field, "")]:
        yield info.tag
    elif isinstance(info, inspect.StructType) and steps:
        for field in info.fields:
            if field.encode_name == steps[0][0]:
                yield from _options(field.type, steps[1:])
    elif isinstance(info, inspect.ListType) and steps:
        yield from _options(info.item_type, steps[1:])


def shown(value: Any) -> str:
    """A value as JSON, cut where it is long, to be put into a sentence."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
