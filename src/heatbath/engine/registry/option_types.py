"""Checks of the options of a sampler against the types of its dataclass fields."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from heatbath.errors import BadInput, format_value

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


def _matches(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
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
    if origin is Callable:
        return callable(value)
    return not isinstance(hint, type) or isinstance(value, hint)


def _describe(hint: Any) -> list[str]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return [text for part in get_args(hint) for text in _describe(part)]
    if origin is Literal:
        return [repr(value) for value in get_args(hint)]
    if origin is Sequence:
        return ["a list"]
    if origin is Callable:
        return ["a function"]
    return [_NAMES.get(hint, getattr(hint, "__name__", "another value"))]
