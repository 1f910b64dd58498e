"""JSON schemas as a grammar can enforce them: parsing, exact numbers, and the keywords that have to be relaxed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from heatbath.errors import BadInput

_MAPS_OF_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_LISTS_OF_SCHEMAS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_SCHEMAS = frozenset({"items", "additionalItems", "additionalProperties"})
_UNENFORCED = frozenset(
    {
        *("$dynamicRef", "$recursiveRef", "contains", "dependencies", "dependentRequired", "dependentSchemas", "else"),
        *("if", "maxContains", "minContains", "not", "propertyNames", "then", "unevaluatedItems"),
        *("unevaluatedProperties", "uniqueItems"),
    }
)
_UNENFORCED_ESCAPES = frozenset("bBk123456789")
_WITHOUT_EFFECT: dict[str, Any] = {"uniqueItems": False, "unevaluatedItems": True, "unevaluatedProperties": True}
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid", "unknown"}
)
_COMPOSING = frozenset({"allOf", "anyOf", "oneOf", "$ref", "if", "dependentSchemas"})
_IN_PLACE = frozenset(
    {"$dynamicRef", "$recursiveRef", "$ref", "anyOf", "dependentSchemas", "else", "if", "oneOf", "then"}
)
_LOWER, _UPPER = frozenset({"minimum", "exclusiveMinimum"}), frozenset({"maximum", "exclusiveMaximum"})
_MAX_DEPTH = 128
_LARGEST = 2**63 - 1024
"""The largest bound below 2^63 that a float holds. The library's integers have 64 bits, beyond which it cuts."""


@dataclass(frozen=True)
class RelaxedSchema:
    """A schema of which a grammar can enforce everything, and JSON pointers to the keywords that were left out."""

    schema: Any
    pointers: tuple[str, ...] = ()

    @property
    def keywords(self) -> tuple[str, ...]:
        """The names of the keywords that were left out, each once."""
        return tuple(sorted({pointer.rpartition("/")[2] for pointer in self.pointers}))


def parse_schema(text: str) -> Any:
    """Return the schema in a JSON text.

    Raises `BadInput` if it is not JSON, is nested too deep, or has a number that a float lacks.
    """
    try:
        schema = json.loads(text, parse_float=_parse_float, parse_constant=_refuse_constant)
        _validate_depth(schema)
        return schema
    except BadInput:
        raise
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the schema is not valid JSON: {error}.") from None


def _validate_depth(schema: Any) -> None:
    level = [schema] if isinstance(schema, dict | list) else []
    for _ in range(_MAX_DEPTH):
        values = [each for outer in level for each in (outer.values() if isinstance(outer, dict) else outer)]
        level = [each for each in values if isinstance(each, dict | list)]
        if not level:
            return
    raise BadInput(f"the schema is nested more than {_MAX_DEPTH} deep: flatten it, with `$ref` for parts of it.")


def _parse_float(text: str) -> float:
    value = float(text)
    if Decimal(text) != Decimal(repr(value)):
        raise BadInput(f"the schema holds {text:.40}, which has more digits than a float: give fewer digits.")
    return value


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


def validate_numbers(schema: Any) -> None:
    """Raise `BadInput` that names the keyword whose number the grammar's 64-bit floats would change."""
    for pointer, keyword, value in _iterate_keywords(schema, ""):
        number = next(_inexact_numbers(keyword, value), None)
        if number is not None:
            message = f"`{keyword}` at {pointer} holds {number:.40}, which cannot be enforced exactly"
            raise BadInput(f"{message}: give a number that a 64-bit float holds, or a text.")


def _inexact_numbers(keyword: str, value: Any) -> Iterator[str]:
    if keyword in ("const", "enum"):
        for number in _integers(value):
            if not _is_exact(number):
                yield str(number)
    elif isinstance(value, int) and not isinstance(value, bool):
        is_far = (keyword in _UPPER and value >= _LARGEST) or (keyword in _LOWER and value <= -_LARGEST)
        if ((keyword in _LOWER | _UPPER and not is_far) or keyword == "multipleOf") and not _is_exact(value):
            yield str(value)


def _integers(value: Any) -> Iterator[int]:
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _integers(each)


def _is_exact(number: int) -> bool:
    return abs(number) <= _LARGEST and int(float(number)) == number


def _iterate_keywords(schema: Any, pointer: str) -> Iterator[tuple[str, str, Any]]:
    """Yield the pointer, the name and the value of each keyword of a schema and of those in it."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        place = f"{pointer}/{_escape(keyword)}"
        yield place, keyword, value
        for inner_place, inner in _inner_schemas(keyword, value, place):
            yield from _iterate_keywords(inner, inner_place)


def _inner_schemas(keyword: str, value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and keyword in _MAPS_OF_SCHEMAS:
        for name, inner in value.items():
            yield f"{place}/{_escape(name)}", inner
    elif isinstance(value, list) and keyword in _LISTS_OF_SCHEMAS:
        for i, inner in enumerate(value):
            yield f"{place}/{i}", inner
    elif isinstance(value, dict) and keyword in _SCHEMAS:
        yield place, value


def _escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def relax_schema(schema: Any) -> RelaxedSchema:
    """Return the schema without the keywords that grammars cannot enforce; every valid document stays valid.

    Raises `BadInput` for options of the grammar's library that are no object.
    """
    options = schema.get("x-guidance", {}) if isinstance(schema, dict) else {}
    if not isinstance(options, dict):
        raise BadInput(f"`x-guidance` must be an object, got {json.dumps(options):.40}.")
    pointers: list[str] = []
    relaxed = _transform(schema, "", lambda each, pointer: _relax_keywords(each, pointer, pointers))
    if any(pointer.endswith("/oneOf") for pointer in pointers):
        # Admits what matches several of them, too.
        relaxed = {**relaxed, "x-guidance": {**relaxed.get("x-guidance", {}), "coerce_one_of": True}}
    return RelaxedSchema(relaxed, tuple(pointers))


Change = Callable[[dict[str, Any], str], dict[str, Any]]


def _transform(schema: Any, pointer: str, change: Change) -> Any:
    """Return a schema of which `change` has changed every object, the outer one before those in it."""
    if not isinstance(schema, dict):
        return schema
    changed = dict(change(schema, pointer))
    for keyword, value in changed.items():
        place = f"{pointer}/{_escape(keyword)}"
        if isinstance(value, dict) and keyword in _MAPS_OF_SCHEMAS:
            changed[keyword] = {
                name: _transform(inner, f"{place}/{_escape(name)}", change) for name, inner in value.items()
            }
        elif isinstance(value, list) and keyword in _LISTS_OF_SCHEMAS:
            changed[keyword] = [_transform(inner, f"{place}/{i}", change) for i, inner in enumerate(value)]
        elif isinstance(value, dict) and keyword in _SCHEMAS:
            changed[keyword] = _transform(value, place, change)
    return changed


def _relax_keywords(schema: dict[str, Any], pointer: str, pointers: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for keyword, value in _close_plain_object(schema).items():
        if keyword == "patternProperties" and isinstance(value, dict):
            kept[keyword] = {name: inner for name, inner in value.items() if is_enforced_pattern(name)}
            if len(kept[keyword]) < len(value):
                pointers.append(f"{pointer}/patternProperties")
        elif _is_enforced(keyword, value):
            kept[keyword] = value
        elif _has_effect(keyword, value, schema):
            pointers.append(f"{pointer}/{_escape(keyword)}")
    if f"{pointer}/patternProperties" in pointers and kept.pop("additionalProperties", True) is not True:
        # The names that only the patterns left out admit would be forbidden.
        pointers.append(f"{pointer}/additionalProperties")
    if "oneOf" in kept:
        pointers.append(f"{pointer}/oneOf")
    return _cut_bounds(kept)


def _close_plain_object(schema: dict[str, Any]) -> dict[str, Any]:
    """Replace `unevaluatedProperties` by `additionalProperties` where that says the same."""
    if schema.get("unevaluatedProperties") is not False or _COMPOSING & schema.keys():
        return schema
    rest = {keyword: value for keyword, value in schema.items() if keyword != "unevaluatedProperties"}
    return {"additionalProperties": False} | rest


def _is_enforced(keyword: str, value: Any) -> bool:
    if keyword == "format":
        return value in _FORMATS if isinstance(value, str) else True
    return is_enforced_pattern(value) if keyword == "pattern" and isinstance(value, str) else keyword not in _UNENFORCED


def _has_effect(keyword: str, value: Any, schema: dict[str, Any]) -> bool:
    if keyword == "format":
        return "string" in _types(schema)
    return keyword not in _WITHOUT_EFFECT or value is not _WITHOUT_EFFECT[keyword]


def _types(schema: dict[str, Any]) -> list[Any]:
    """Return the types a schema admits; all that matter here where it names none."""
    kinds = schema.get("type", ["string", "number", "object"])
    return kinds if isinstance(kinds, list) else [kinds]


def _cut_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Cut bounds that exclude nothing but integers of more than 64 bits, which the library cannot count to."""
    if "number" in _types(schema):
        return schema
    for keyword in (_LOWER | _UPPER) & schema.keys():
        value = schema[keyword]
        if isinstance(value, int | float) and not isinstance(value, bool):
            if keyword in _UPPER and value > _LARGEST:
                schema[keyword] = _LARGEST
            elif keyword in _LOWER and value < -_LARGEST:
                schema[keyword] = -_LARGEST
    return schema


def is_enforced_pattern(pattern: str) -> bool:
    """Return whether a pattern has neither look-around, nor word boundaries, nor references to groups."""
    at, in_class = 0, False
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            if not in_class and pattern[at + 1 : at + 2] in _UNENFORCED_ESCAPES:
                return False
            at += 1
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif pattern.startswith(("(?=", "(?!", "(?<=", "(?<!", "(?>"), at):
            return False
        at += 1
    return True


def close_objects(schema: Any, param: str = "the schema") -> Any:
    """Return a schema whose objects have no properties but those it lists, as `strict` asks.

    Raises:
        BadInput: an object allows others explicitly, or is composed of several.
    """
    return _transform(schema, "", lambda each, pointer: _close_object(each, f"{param} at {pointer or '/'}"))


def _close_object(schema: dict[str, Any], place: str) -> dict[str, Any]:
    others = schema.get("additionalProperties")
    if others not in (None, False):
        raise BadInput(f"{place} has `additionalProperties`, and strict is true: set it to false.")
    is_object = ("type" in schema and "object" in _types(schema)) or "properties" in schema
    if others is False or not is_object or schema.get("unevaluatedProperties") is False:
        return schema
    composing = sorted((_COMPOSING - {"$ref"}) & schema.keys())
    if composing:
        reason = f"joins properties by `{composing[0]}`, and strict is true: set `additionalProperties` to false"
        raise BadInput(f"{place} {reason} where it holds.")
    return {**schema, "additionalProperties": False}


def close_listed_objects(schema: Any) -> Any:
    """Return a schema whose objects have no properties but those they list, unless they say otherwise.

    An object stays open if its own keywords allow or need other properties. Every object does where some part of the
    schema joins objects (`allOf` of several, `properties` beside `anyOf`): closing one would forbid what another adds.
    """
    if any(_joins_objects(each) for each in _iterate_schemas(schema)):
        return schema
    return _transform(schema, "", lambda each, _: _close_listed_object(each))


def _iterate_schemas(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield a schema and those in it that are objects."""
    if isinstance(schema, dict):
        yield schema
        for keyword, value in schema.items():
            for _, inner in _inner_schemas(keyword, value, ""):
                yield from _iterate_schemas(inner)


def _joins_objects(schema: dict[str, Any]) -> bool:
    """Return whether several parts of a schema describe the same object."""
    every = schema.get("allOf", [])
    own = {"properties", "patternProperties", "additionalProperties", "unevaluatedProperties"} & schema.keys()
    return bool(own) + len(_IN_PLACE & schema.keys()) + (len(every) if isinstance(every, list) else 1) > 1


def _close_listed_object(schema: dict[str, Any]) -> dict[str, Any]:
    names, required, least = schema.get("properties", {}), schema.get("required", []), schema.get("minProperties", 0)
    if {"additionalProperties", "unevaluatedProperties", "const", "enum"} & schema.keys():
        return schema
    if not isinstance(names, dict) or not isinstance(required, list) or not isinstance(least, int | float):
        return schema
    is_listed = bool({"properties", "patternProperties"} & schema.keys())
    needs_others = not set(map(repr, required)) <= set(map(repr, names)) or least > len(names)
    return {**schema, "additionalProperties": False} if is_listed and not needs_others else schema
