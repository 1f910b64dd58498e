"""Outcomes in the page's JSON: a row of the list, and the details of one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from heatbath.serve.interfaces import RequestOutcome

NODES_PREFIX = "nodes/"
"""Begins the names of columns with one value for each node of the grid of inverse temperatures."""


def summarize_outcome(outcome: RequestOutcome) -> dict[str, Any]:
    """Return the row of the list."""
    ticket = outcome.request
    return {
        "id": ticket.id,
        "created": ticket.created_at,
        "endpoint": ticket.endpoint,
        "model": ticket.model,
        "stream": ticket.stream,
        "status": outcome.status,
        "error": outcome.error,
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "duration": outcome.duration,
        "temperature": outcome_temperature(outcome),
    }


def serialize_outcome(outcome: RequestOutcome) -> dict[str, Any]:
    """Return the details of an outcome: settings, times, texts, and each choice's tokens with their records."""
    return summarize_outcome(outcome) | {
        "settings": to_json_values(outcome.request.settings),
        "cached_tokens": outcome.cached_tokens,
        "finish": [reason for reason in outcome.finish_reasons if reason],
        "waited": outcome.queue_seconds,
        "first_token": outcome.first_token_seconds,
        # A seed may have more bits than a number in JavaScript.
        "seed": None if outcome.seed is None else str(outcome.seed),
        "summary": to_json_values(outcome.summary),
        "content": None if outcome.content is None else _serialize_content(outcome.content),
        "records": [to_json_values(select_scalars(columns)) for columns in outcome.records or ()],
    }


def outcome_temperature(outcome: RequestOutcome) -> float | None:
    """Return the temperature of an outcome, None where no single one is known."""
    drawn = [value for choice in outcome.summary for value in choice.get("temperature") or ()]
    known = set(drawn) or {outcome.request.settings.get("temperature")}
    value = known.pop()
    return float(value) if not known and isinstance(value, int | float) and math.isfinite(value) else None


def to_json_values(value: Any) -> Any:
    """Return values that JSON can hold; numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(name): to_json_values(inner) for name, inner in value.items()}
    if hasattr(value, "tolist"):
        return to_json_values(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [to_json_values(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def select_scalars(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a record that have one number per token."""
    return {name: column for name, column in columns.items() if not name.startswith(NODES_PREFIX)}


def _serialize_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input as {role, text}, and the texts of the completions."""
    asked = [
        {"role": str(message.get("role")), "text": _message_text(message)} for message in content.get("messages") or ()
    ]
    for name in ("prompt", "input"):
        if content.get(name) is not None:
            asked.append({"role": name, "text": _join_text(content[name])})
    return {"asked": asked, "answers": [_join_text(answer) for answer in content.get("answers") or ()]}


def _message_text(message: Mapping[str, Any]) -> str:
    calls = [str(call.get("function", call)) for call in message.get("tool_calls") or ()]
    return "\n".join([_join_text(message.get("content")), *calls]).strip("\n")


def _join_text(value: Any) -> str:
    """Return a text, or a list of texts, parts or token ids, as one text."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, Mapping):
        return str(value.get("text") or value.get("refusal") or value)
    if isinstance(value, Sequence):
        whole = all(isinstance(one, int) for one in value)
        return (" " if whole else "\n").join(_join_text(one) for one in value)
    return str(value)
