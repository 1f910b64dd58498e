"""Finished answers against their JSON schema, with exact numbers, no merged keys, and a bound on the work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import Any

import regex

_MAX_STEPS = 10_000
_MAX_ERRORS = 5
_MAX_DIGITS = 4000
_PATTERN_SECONDS = 0.2
_FORMATS = ("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid")
_CLASS_PIECES = {r"\d": "0-9", r"\w": "A-Za-z0-9_"}
_PIECES = {"$": r"\Z", r"\d": "[0-9]", r"\D": "[^0-9]", r"\w": "[A-Za-z0-9_]", r"\W": "[^A-Za-z0-9_]"}
_STEPS_LEFT: ContextVar[list[int]] = ContextVar("steps_left")


class _CheckLimit(Exception):
    """Checking took more than it may."""


def parse_exactly(text: str) -> Any:
    """Return the JSON value in a text, with whole numbers as `int` and others as `Decimal`.

    Raises:
        ValueError: the text is not JSON, or a key comes twice in an object.
    """
    return json.loads(
        text,
        object_pairs_hook=_build_object,
        parse_int=_parse_int,
        parse_float=Decimal,
        parse_constant=_refuse_constant,
    )


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"the key {json.dumps(twice)[:64]} comes twice")
    return value


def _parse_int(text: str) -> int | Decimal:
    return int(text) if len(text) <= _MAX_DIGITS else Decimal(text)


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


def find_schema_error(schema: Any) -> str | None:
    """Return what is wrong with a schema by the metaschema of its draft; None if nothing is."""
    from jsonschema import FormatChecker
    from jsonschema.exceptions import SchemaError

    try:
        # Patterns are read by the grammar, whose syntax is not Python's.
        _draft(schema).check_schema(schema, format_checker=FormatChecker(()))
    except SchemaError as error:
        place = "".join(f"/{step}" for step in error.absolute_path) or "/"
        return f"{place} does not match `{error.validator}` of the rules for schemas"
    except (RecursionError, TypeError, ValueError):
        return "it cannot be read as a schema"
    return None


def find_errors(schema: Any, text: str) -> list[str] | None:
    """Return what makes a JSON text invalid under a schema: empty if nothing, None if that took too much to find out.

    An unknown `format` says nothing. References lead nowhere outside the schema.
    """
    try:
        value = parse_exactly(text)
    except ValueError as error:
        return [f"the text is not JSON: {error}"]
    except RecursionError:
        return None
    _STEPS_LEFT.set([_MAX_STEPS])
    try:
        errors = islice(_build_validator(_with_exact_numbers(schema)).iter_errors(value), _MAX_ERRORS)
        return [f"{error.json_path} is invalid by `{error.validator or 'false'}`" for error in errors]
    except Exception:
        # Of the budget, of a reference, a pattern or a value of a keyword that the validator cannot use.
        return None


def _build_validator(schema: Any) -> Any:
    from jsonschema import FormatChecker
    from referencing import Registry
    from referencing.jsonschema import EMPTY_REGISTRY

    registry: Registry[Any] = EMPTY_REGISTRY
    known = tuple(name for name in _FORMATS if name in FormatChecker.checkers)
    return _validator_class(_draft(schema))(schema, registry=registry, format_checker=FormatChecker(known))


def _draft(schema: Any) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    return validator_for(schema, default=Draft202012Validator)


@lru_cache(maxsize=16)
def _validator_class(base: Any) -> Any:
    """Return the validator of a draft with exact numbers, bounded patterns and counted steps."""
    from jsonschema.validators import extend

    ours = {
        "pattern": _check_pattern,
        "patternProperties": _check_pattern_properties,
        "additionalProperties": _check_additional_properties,
        "multipleOf": _check_multiple_of,
        "unevaluatedProperties": _guard_unevaluated(base.VALIDATORS.get("unevaluatedProperties")),
    }
    keywords = {**base.VALIDATORS, **{name: check for name, check in ours.items() if name in base.VALIDATORS}}
    types = base.TYPE_CHECKER.redefine("integer", lambda _, value: _is_integer(value))
    return extend(base, {name: _count_steps(check) for name, check in keywords.items()}, type_checker=types)


Check = Callable[[Any, Any, Any, Any], Any]


def _count_steps(check: Check) -> Check:
    def check_step(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        left = _STEPS_LEFT.get([_MAX_STEPS])
        left[0] -= 1
        if left[0] < 0:
            raise _CheckLimit
        yield from check(validator, value, instance, schema) or ()

    return check_step


def _guard_unevaluated(check: Check | None) -> Check:
    """Refuse what the library would search with patterns of the schema, without a bound."""

    def check_bounded(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if "patternProperties" in json.dumps(schema, default=str):
            raise _CheckLimit
        return check(validator, value, instance, schema) if check else None

    return check_bounded


def _is_integer(value: Any) -> bool:
    if isinstance(value, Decimal):
        return value.is_finite() and (value == 0 or _trailing_exponent(value) >= 0)
    return isinstance(value, int) and not isinstance(value, bool)


def _trailing_exponent(value: Decimal) -> int:
    """Return the power of ten of the last digit that is not 0."""
    digits, exponent = _digits(value)
    text = str(abs(digits))
    return exponent + len(text) - len(text.rstrip("0"))


def _digits(value: int | Decimal) -> tuple[int, int]:
    """Return (m, e) with value = m · 10^e."""
    sign, digits, exponent = Decimal(value).as_tuple()
    assert isinstance(exponent, int)
    whole = int("".join(map(str, digits[:_MAX_DIGITS])))
    return (-whole if sign else whole), exponent + max(0, len(digits) - _MAX_DIGITS)


def _with_exact_numbers(value: Any) -> Any:
    """Return a schema whose floats are the decimals that they are written as."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, dict):
        return {name: _with_exact_numbers(inner) for name, inner in value.items()}
    return [_with_exact_numbers(inner) for inner in value] if isinstance(value, list) else value


def _check_multiple_of(validator: Any, divisor: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "number") and not _is_multiple(instance, divisor):
        yield ValidationError(f"not a multiple of {divisor}")


def _is_multiple(value: int | Decimal, divisor: int | Decimal) -> bool:
    (m, e), (n, k) = _digits(value), _digits(divisor)
    if m == 0 or e >= k:
        return m * pow(10, max(e - k, 0), abs(n)) % n == 0
    # A value with more decimal places has to end with zeros.
    shift = k - e
    return shift <= len(str(abs(m))) and m % (n * 10**shift) == 0


def _search(pattern: str, text: str) -> bool:
    return _compile(pattern).search(text, timeout=_PATTERN_SECONDS) is not None


@lru_cache(maxsize=256)
def _compile(pattern: str) -> Any:
    """Compile a pattern of a schema, in the syntax of JavaScript as far as Python's differs."""
    parts, in_class, at = [], False, 0
    while at < len(pattern):
        size = 2 if pattern[at] == "\\" else 1
        piece = pattern[at : at + size]
        piece = (_CLASS_PIECES if in_class else _PIECES).get(piece, piece)
        in_class = (piece == "[" or in_class) and piece != "]"
        parts.append(piece)
        at += size
    return regex.compile("".join(parts))


def _check_pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _search(pattern, instance):
        yield ValidationError("does not match")


def _check_pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in patterns.items():
        for name, value in instance.items():
            if _search(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _check_additional_properties(validator: Any, rule: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    patterns, named = schema.get("patternProperties", {}), schema.get("properties", {})
    for name, value in instance.items():
        if name in named or any(_search(pattern, name) for pattern in patterns):
            continue
        if rule is False:
            yield ValidationError("has a property that the schema does not list")
        elif isinstance(rule, dict):
            yield from validator.descend(value, rule, path=name)
