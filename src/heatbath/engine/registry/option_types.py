"""Checks of options against their declaration: the types of annotations, and the ranges of a `Spec` for requests."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from heatbath.energy.spec import Range, Spec
from heatbath.errors import BadInput, format_value

_WHOLE, _NUMBER = Range(-(2**31), 2**31 - 1), Range(-1e30, 1e30)
"""The numbers that a request may give where nothing else is declared."""
_PLACEMENT: Mapping[str, tuple[Any, Range]] = {
    "weight": (float, Range(-1e6, 1e6)),
    "after": (int, Range(0, 2**31 - 1)),
    "until": (int, Range(0, 2**31 - 1)),
}
"""Settings that every field takes."""

_NAMES: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "none",
}


def validate_option_types(name: str, sampler: object, options: Mapping[str, Any]) -> None:
    """Raise `BadInput` for an option whose value is not of the type of the field of the same name of `sampler`."""
    hints = get_type_hints(sampler.__class__)
    for option, value in options.items():
        if option in hints and not _matches(value, hints[option]):
            expected = " or ".join(_describe(hints[option]))
            raise BadInput(
                f"the {name} sampler cannot take {option}={format_value(value)}: give {expected}.", param=option
            )


def validate_request_options(spec: Spec[Any], options: Mapping[str, Any]) -> None:
    """Raise `BadInput` for an option of a sampler that is outside of what its `ranges` allow to a request."""
    for name, value in options.items():
        _validate_numbers(value, spec.ranges.get(name), f"the {spec.name} sampler cannot take {name}", name)


def validate_request_value(spec: Spec[Any], value: Any) -> None:
    """Raise `BadInput` for the value of a component, from a request, that its declaration does not allow."""
    label, param = f"the {spec.kind} {spec.name}", f"{spec.kind}s" if spec.kind != "schedule" else spec.kind
    for name, given, hint in _iterate_settings(spec, value):
        range_ = _PLACEMENT[name][1] if hint is _PLACEMENT else spec.ranges.get(name)
        hint = _PLACEMENT[name][0] if hint is _PLACEMENT else hint
        if not _matches(given, hint):
            expected = str(range_) if range_ else " or ".join(_describe(hint))
            message = f"{label} cannot take {name}={format_value(given)}: give {expected}."
            raise BadInput(message, param=param, component=spec.name)
        if hint is not Any:
            _validate_numbers(given, range_, f"{label} cannot take {name}", param)


def _iterate_settings(spec: Spec[Any], value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, value and type of each setting; the type of those that all fields share is `_PLACEMENT`."""
    parameters = list(inspect.signature(spec.build).parameters.values())[int(spec.takes_context) :]
    hints = get_type_hints(spec.build)
    if not isinstance(value, Mapping):
        if value is not None and parameters:
            yield parameters[0].name, value, hints.get(parameters[0].name, Any)
        return
    named = {each.name: hints.get(each.name, Any) for each in parameters if each.kind is not each.VAR_KEYWORD}
    others = next((hints.get(each.name, Any) for each in parameters if each.kind is each.VAR_KEYWORD), Any)
    for name, given in value.items():
        if spec.kind == "field" and name in _PLACEMENT:
            yield name, given, _PLACEMENT
        else:
            yield name, given, named.get(name, others)


def _validate_numbers(value: Any, range_: Range | None, label: str, param: str) -> None:
    """Raise `BadInput` for a value outside of its range, or a number in it that is not finite or too large."""
    if range_ is not None:
        if value not in range_:
            raise BadInput(f"{label}={format_value(value)}: give {range_}.", param=param)
        return
    for number in _iterate_numbers(value):
        limits = _WHOLE if isinstance(number, Integral) else _NUMBER
        if not limits.low <= number <= limits.high or math.isnan(number):
            raise BadInput(f"{label}={format_value(value)}: give {limits}.", param=param)


def _iterate_numbers(value: Any) -> Iterator[Any]:
    """Yield the numbers in a value from JSON."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _iterate_numbers(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _iterate_numbers(each)
    elif isinstance(value, Real) and not isinstance(value, bool):
        yield value


def _matches(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_matches(value, part) for part in get_args(hint))
    if origin is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if hint in (int, float):
        kind = Integral if hint is int else Real
        return isinstance(value, kind) and not isinstance(value, bool)
    if origin is Sequence:
        items = get_args(hint)[0]
        return isinstance(value, Sequence) and not isinstance(value, str) and all(_matches(x, items) for x in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_matches(x, get_args(hint)[1]) for x in value.values())
    if origin is tuple:
        items = get_args(hint)
        return isinstance(value, list | tuple) and len(value) == len(items) and all(map(_matches, value, items))
    if origin is Callable:
        return callable(value)
    return not isinstance(hint, type) or isinstance(value, hint)


def _describe(hint: Any) -> list[str]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return [text for part in get_args(hint) for text in _describe(part)]
    if origin is Literal:
        return [repr(value) for value in get_args(hint)]
    if origin in (Sequence, tuple):
        return ["a list"]
    if origin is Mapping:
        return ["an object"]
    if origin is Callable:
        return ["a function"]
    return [_NAMES.get(hint, getattr(hint, "__name__", "another value"))]
