"""Canonical bytes of JSON values, RFC 8785, from the values that Python programs have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from heatbath.errors import BadInput, MissingExtra, format_value

MAX_INTEGER = (1 << 53) - 1
"""Greatest integer that every reader of JSON has exactly."""


def canonical_bytes(value: Any) -> bytes:
    """Return the canonical JSON of a value, UTF-8.

    Scalars of NumPy become plain numbers first, tuples become lists.

    Raises:
        BadInput: a NaN or an infinity, an integer beyond 2^53 - 1, a key that is no text, or another type; the message
            names the place.
        MissingExtra: without the extra `ledger`.
    """
    try:
        import rfc8785
    except ImportError as error:
        raise MissingExtra("a ledger", "ledger") from error
    encoded: bytes = rfc8785.dumps(to_plain(value))
    return encoded


def to_plain(value: Any, place: str = "") -> Any:
    """Return the value with plain Python types alone. Raises `BadInput` for what JSON does not have."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _validate_text(value, place)
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _validate_number(value, place)
    if isinstance(value, Mapping):
        return {_validate_key(key, place): to_plain(each, f"{place}.{key}") for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [to_plain(each, f"{place}[{i}]") for i, each in enumerate(value)]
    raise BadInput(f"{_name(place)} is of type {type(value).__name__}, which JSON does not have: give plain values.")


def _validate_number(value: float, place: str) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInput(f"{_name(place)} is {value}, which JSON does not have: leave it out or write a text.")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise BadInput(f"{_name(place)} is {format_value(value)}, beyond 2^53 - 1: write it as a text.")
    return value


def _validate_text(value: str, place: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{_name(place)} has a lone surrogate, which UTF-8 does not have.") from None
    return value


def _validate_key(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise BadInput(f"{_name(place)} has the key {format_value(key)}: keys of JSON are texts.")
    return _validate_text(key, place)


def _name(place: str) -> str:
    return f"`{place.lstrip('.')[:80]}`" if place else "the value"
