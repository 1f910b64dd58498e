"""Representations on one line: a few numbers of an object, and the shapes of its arrays in place of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields
from typing import Any

MAX_LENGTH = 200
"""The longest representation."""
MAX_TEXT = 40
MAX_ITEMS = 4


def short_repr(instance: Any) -> str:
    """Return `Type(field=value, …)` of a dataclass, fields that are None left out; use it as its `__repr__`."""
    values = {field.name: getattr(instance, field.name) for field in fields(instance) if field.repr}
    return format_repr(type(instance).__name__, {name: value for name, value in values.items() if value is not None})


def format_repr(name: str, values: Mapping[str, Any], *, first: Any = None) -> str:
    """Return `name(first, key=value, …)` with shortened values; what does not fit `MAX_LENGTH` is left out."""
    parts = [] if first is None else [shorten_value(first)]
    parts += [f"{key}={shorten_value(value)}" for key, value in values.items()]
    text = f"{name}({', '.join(parts)})"
    while len(text) > MAX_LENGTH and parts:
        parts.pop()
        text = f"{name}({', '.join([*parts, '…'])})"
    return text


def shorten_value(value: Any) -> str:
    """Return a value on one line of at most some `MAX_TEXT` characters: arrays as type and shape, long texts cut."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str | bytes):
        cut = value if len(value) <= MAX_TEXT else value[: MAX_TEXT - 1]
        return repr(cut) + ("…" if len(cut) < len(value) else "")
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _shorten_array(value)
    if isinstance(value, Mapping):
        return f"{{{len(value)} entries}}" if value else "{}"
    if isinstance(value, Sequence | Set):
        return _shorten_items(list(value) if len(value) <= MAX_ITEMS else None, len(value))
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    text = " ".join(repr(value).split())
    return text if len(text) <= 2 * MAX_TEXT else text[: 2 * MAX_TEXT - 1] + "…"


def _shorten_array(array: Any) -> str:
    if not array.shape:
        return shorten_value(array.item())
    if len(array.shape) == 1 and array.shape[0] <= MAX_ITEMS:
        return _shorten_items(array.tolist(), array.shape[0])
    kind = str(array.dtype).rpartition(".")[2]
    return f"{kind}[{', '.join(map(str, array.shape))}]"


def _shorten_items(items: list[Any] | None, count: int) -> str:
    shown = None if items is None else f"[{', '.join(map(shorten_value, items))}]"
    return f"[{count} items]" if shown is None or len(shown) > 2 * MAX_TEXT else shown
