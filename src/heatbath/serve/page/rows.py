"""Answers as the page reads them: a row of the list, and all of one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from heatbath.serve.base import Answered

_NODES = "nodes/"


def row(answered: Answered) -> dict[str, Any]:
    """What the list shows."""
    ticket = answered.ticket
    return {
        "id": ticket.id,
        "created": ticket.created,
        "endpoint": ticket.endpoint,
        "model": ticket.model,
        "stream": ticket.stream,
        "status": answered.status,
        "error": answered.error,
        "prompt_tokens": answered.prompt_tokens,
        "completion_tokens": answered.completion_tokens,
        "duration": answered.duration,
        "temperature": temperature(answered),
    }


def whole(answered: Answered) -> dict[str, Any]:
    """What opening an answer shows: settings, times, texts, and each choice's tokens with their records."""
    return row(answered) | {
        "settings": plain(answered.ticket.settings),
        "cached_tokens": answered.cached_tokens,
        "finish": [reason for reason in answered.finish if reason],
        "waited": answered.waited,
        "first_token": answered.first_token,
        # A seed may have more bits than a number of the browser.
        "seed": None if answered.seed is None else str(answered.seed),
        "summary": plain(answered.summary),
        "content": None if answered.content is None else _content(answered.content),
        "records": [plain(_scalars(columns)) for columns in answered.records or ()],
    }


def light(answered: Answered, *, content: bool) -> Answered:
    """The answer without the nodes of its records, and without its content where that is not to be kept."""
    if not content:
        return replace(answered, content=None, records=None)
    return replace(answered, records=[_scalars(columns) for columns in answered.records or ()])


def temperature(answered: Answered) -> float | None:
    """The temperature an answer was drawn at, None where no single one is known."""
    drawn = [value for choice in answered.summary for value in choice.get("temperature") or ()]
    known = set(drawn) or {answered.ticket.settings.get("temperature")}
    value = known.pop()
    return float(value) if not known and isinstance(value, int | float) and math.isfinite(value) else None


def plain(value: Any) -> Any:
    """Values as JSON has them: what is no finite number becomes null."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _scalars(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: column for name, column in columns.items() if not name.startswith(_NODES)}


def _content(content: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, as {role, text}, and the texts of the answers."""
    asked = [{"role": str(message.get("role")), "text": _text(message)} for message in content.get("messages") or ()]
    for name in ("prompt", "input"):
        if content.get(name) is not None:
            asked.append({"role": name, "text": _joined(content[name])})
    return {"asked": asked, "answers": [_joined(answer) for answer in content.get("answers") or ()]}


def _text(message: Mapping[str, Any]) -> str:
    calls = [str(call.get("function", call)) for call in message.get("tool_calls") or ()]
    return "\n".join([_joined(message.get("content")), *calls]).strip("\n")


def _joined(value: Any) -> str:
    """A text, or a list of texts, parts or token ids, as one text."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, Mapping):
        return str(value.get("text") or value.get("refusal") or value)
    if isinstance(value, Sequence):
        whole = all(isinstance(one, int) for one in value)
        return (" " if whole else "\n").join(_joined(one) for one in value)
    return str(value)
