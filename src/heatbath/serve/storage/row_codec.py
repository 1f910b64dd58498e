"""Outcomes as rows and back.

Numbers that JSON does not have (NaN, infinities) become null; half a surrogate pair, and in a text column a NUL,
becomes U+FFFD.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from heatbath.serve.interfaces import RequestInfo, RequestOutcome

# The fastest level: numbers hardly shrink more at a higher one, and every response waits for it.
_COMPRESSION_LEVEL = 1
_SURROGATES = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_UNSTORABLE_CHARACTERS = {0: "\ufffd", **_SURROGATES}
_SAME_NAME_COLUMNS = ("status", "prompt_tokens", "cached_tokens", "completion_tokens", "duration")


def to_row(outcome: RequestOutcome) -> dict[str, Any]:
    """Return the columns of `answers`, without those that the database fills in."""
    info = outcome.request
    return {name: getattr(outcome, name) for name in _SAME_NAME_COLUMNS} | {
        "id": clean_text(info.id),
        "tenant": clean_text(info.tenant),
        "endpoint": clean_text(info.endpoint),
        "model": clean_text(info.model),
        "error": None if outcome.error is None else clean_text(outcome.error),
        "created": info.created_at,
        "stream": info.stream,
        "settings": info.settings,
        "summary": outcome.summary,
        "finish": outcome.finish_reasons,
        "waited": _finite_or_none(outcome.queue_seconds),
        "first_token": _finite_or_none(outcome.first_token_seconds),
        "seed": None if outcome.seed is None else str(outcome.seed),
    }


def encode_body(outcome: RequestOutcome) -> bytes | None:
    """Return content and records, compressed; None where there are neither."""
    if outcome.content is None and outcome.records is None:
        return None
    return zlib.compress(to_json([outcome.content, outcome.records]), _COMPRESSION_LEVEL)


def encode_labels(metadata: Any) -> dict[str, str]:
    """Return metadata as rows of `labels` can hold it; none where it is no mapping."""
    pairs = metadata.items() if isinstance(metadata, Mapping) else ()
    return {clean_text(str(name)): clean_text(str(value)) for name, value in pairs}


def encode_confidences(outcome: RequestOutcome) -> list[dict[str, Any]]:
    """Return the confidences of an outcome as rows, without the number of the outcome."""
    return [
        {
            "choice": one.choice,
            "value": one.value,
            "calibrator": one.calibrator,
            "withheld": one.is_withheld,
        }
        for one in outcome.confidences
    ]


def replace_metadata(body: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return a body with other metadata."""
    content, records = from_json(zlib.decompress(body))
    return zlib.compress(to_json([{**content, "metadata": metadata or None}, records]), _COMPRESSION_LEVEL)


def from_row(row: Mapping[Any, Any]) -> RequestOutcome:
    """Return the outcome of a row of `answers` with the `body` of `contents`; `started_at` is not stored, and 0."""
    content, records = (None, None) if row["body"] is None else from_json(zlib.decompress(row["body"]))
    info = RequestInfo(
        row["id"],
        row["tenant"],
        row["endpoint"],
        row["model"],
        row["stream"],
        started_at=0.0,
        created_at=row["created"],
        settings=row["settings"],
    )
    return RequestOutcome(
        info,
        **{name: row[name] for name in _SAME_NAME_COLUMNS},
        error=row["error"],
        finish_reasons=tuple(row["finish"]),
        queue_seconds=row["waited"],
        first_token_seconds=row["first_token"],
        seed=None if row["seed"] is None else int(row["seed"]),
        summary=row["summary"],
        content=content,
        records=records,
    )


def to_json(value: Any) -> bytes:
    """Encode as JSON; arrays and any mapping or sequence may be in it."""
    try:
        return msgspec.json.encode(value, enc_hook=_to_builtin)
    except UnicodeEncodeError:
        return msgspec.json.encode(_replace_surrogates(msgspec.to_builtins(value, enc_hook=_to_builtin)))


def from_json(data: bytes | str) -> Any:
    """Decode the output of `to_json`."""
    return msgspec.json.decode(data)


def clean_text(value: str) -> str:
    """Return a text as a column can hold it."""
    return value.translate(_UNSTORABLE_CHARACTERS)


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _to_builtin(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"a {type(value).__name__} cannot be stored: give numbers, texts, lists and mappings of them.")


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_SURROGATES)
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(entry) for key, entry in value.items()}
    return [_replace_surrogates(entry) for entry in value] if isinstance(value, list) else value
