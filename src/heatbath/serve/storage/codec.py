"""Answers as rows and back.

What JSON has no number for (NaN, infinities) becomes null; half a surrogate pair, and in a column of text a NUL,
becomes U+FFFD.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from heatbath.serve.base import Answered, Ticket

# The fastest level: figures hardly shrink more at a higher one, and every answer waits for it.
_LEVEL = 1
_HALVES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_LOST = {0: "\ufffd", **_HALVES}
_COUNTS = ("status", "prompt_tokens", "cached_tokens", "completion_tokens", "duration")


def row_of(answered: Answered) -> dict[str, Any]:
    """The columns of `answers` but those that the database gives."""
    ticket = answered.ticket
    return {name: getattr(answered, name) for name in _COUNTS} | {
        "id": text_of(ticket.id),
        "tenant": text_of(ticket.tenant),
        "endpoint": text_of(ticket.endpoint),
        "model": text_of(ticket.model),
        "error": None if answered.error is None else text_of(answered.error),
        "created": ticket.created,
        "stream": ticket.stream,
        "settings": ticket.settings,
        "summary": answered.summary,
        "finish": answered.finish,
        "waited": _number(answered.waited),
        "first_token": _number(answered.first_token),
        "seed": None if answered.seed is None else str(answered.seed),
    }


def body_of(answered: Answered) -> bytes | None:
    """Content and records, packed; None where there are neither."""
    if answered.content is None and answered.records is None:
        return None
    return zlib.compress(to_json([answered.content, answered.records]), _LEVEL)


def answered_of(row: Mapping[Any, Any]) -> Answered:
    """The answer of a row of `answers` with the `body` of `contents`; `started` is lost, and 0."""
    content, records = (None, None) if row["body"] is None else from_json(zlib.decompress(row["body"]))
    ticket = Ticket(
        row["id"],
        row["tenant"],
        row["endpoint"],
        row["model"],
        row["stream"],
        started=0.0,
        created=row["created"],
        settings=row["settings"],
    )
    return Answered(
        ticket,
        **{name: row[name] for name in _COUNTS},
        error=row["error"],
        finish=tuple(row["finish"]),
        waited=row["waited"],
        first_token=row["first_token"],
        seed=None if row["seed"] is None else int(row["seed"]),
        summary=row["summary"],
        content=content,
        records=records,
    )


def to_json(value: Any) -> bytes:
    """JSON; arrays and any mapping or sequence may be in it."""
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole(msgspec.to_builtins(value, enc_hook=_plain)))


def from_json(data: bytes | str) -> Any:
    """What `to_json` wrote."""
    return msgspec.json.decode(data)


def text_of(value: str) -> str:
    """As a column holds it."""
    return value.translate(_LOST)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"a {type(value).__name__} cannot be stored: give numbers, texts, lists and mappings of them.")


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_HALVES)
    if isinstance(value, dict):
        return {_whole(key): _whole(entry) for key, entry in value.items()}
    return [_whole(entry) for entry in value] if isinstance(value, list) else value
