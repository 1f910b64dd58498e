"""Attributes of a span, from what was asked and what was answered."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from heatbath.serve.base import Answered, Ticket
from heatbath.serve.metrics.otel import names

Value = str | bool | int | float | Sequence[str] | Sequence[float]
Attributes = dict[str, Value]


def asked(ticket: Ticket, operation: str, *, latest: bool) -> Attributes:
    """What is known when a request arrives. `latest`: in the names of the newest conventions."""
    found: Attributes = {
        names.OPERATION_NAME: operation,
        names.PROVIDER_NAME: names.PROVIDER,
        names.REQUEST_MODEL: _whole(ticket.model),
        names.STREAM: ticket.stream,
    }
    for name, (attribute, kind) in names.NUMBERS.items():
        value = ticket.settings.get(name)
        if _is_number(value):
            found[attribute] = _sendable(kind(value))
    if _is_number(ticket.settings.get("top_k")):
        found[names.TOP_K] = _sendable((int if latest else float)(ticket.settings["top_k"]))
    found |= _texts(names.STOP_SEQUENCES, ticket.settings.get("stop"))
    return found | _texts(names.ENCODING_FORMATS, ticket.settings.get("encoding_format"))


def given(answered: Answered, operation: str, model: str, *, latest: bool) -> Attributes:
    """What is known when it is over; `model` is the one that answered."""
    found: Attributes = {
        names.RESPONSE_ID: names.PREFIXES.get(operation, "") + answered.ticket.id,
        names.RESPONSE_MODEL: model,
        names.INPUT_TOKENS: answered.prompt_tokens,
        names.OUTPUT_TOKENS: answered.completion_tokens,
        names.CACHED_TOKENS: answered.cached_tokens,
    }
    if latest:
        found[names.TEXT_INPUT_TOKENS] = answered.prompt_tokens
        found[names.TEXT_OUTPUT_TOKENS] = answered.completion_tokens
    if any(answered.finish):
        found[names.FINISH_REASONS] = list(answered.finish)
    if answered.first_token is not None:
        found[names.FIRST_CHUNK] = answered.first_token
    if answered.status >= 400:
        found[names.ERROR_TYPE] = _whole(answered.error or str(answered.status))
    return found | thermo(answered.summary)


def thermo(summary: Sequence[Mapping[str, Any]]) -> Attributes:
    """The numbers of the choices' summaries, each as the list over choices; NaN where a choice has none."""
    flat = [_flat(choice) for choice in summary]
    keys = sorted({key for choice in flat for key in choice})
    return {f"{names.THERMO}.{key}": [choice.get(key, math.nan) for choice in flat] for key in keys}


def content(answered: Answered) -> Attributes:
    """Prompt and answers as the conventions write messages, in JSON; nothing where the content was not kept."""
    if answered.content is None:
        return {}
    asked, answers = _messages(answered.content), answered.content.get("answers") or []
    told = [
        _message("assistant", answer) | {"finish_reason": reason}
        for answer, reason in zip(answers, [*answered.finish, *[""] * len(answers)], strict=False)
    ]
    return {names.INPUT_MESSAGES: _json(asked), names.OUTPUT_MESSAGES: _json(told)}


def _messages(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "messages" in content:
        return [_message(str(message["role"]), message) for message in content["messages"]]
    prompt = content.get("prompt", "")
    return [_message("user", text) for text in ([prompt] if isinstance(prompt, str) else prompt)]


def _message(role: str, said: Any) -> dict[str, Any]:
    """One message of one part; `said` is its text, or whatever holds it."""
    inner = said.get("content", said.get("text")) if isinstance(said, Mapping) else said
    text = inner if isinstance(inner, str) else _json(inner)
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _json(value: Any) -> str:
    return _whole(json.dumps(value, ensure_ascii=False, default=str))


def _flat(choice: Mapping[str, Any], above: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in choice.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{_whole(name)}.")
        elif _is_number(value):
            found[above + _whole(_RENAMED.get(name, name))] = float(value)
    return found


_RENAMED = {
    "n": "tokens",
    "log_z": "log_z_centred.mean",
    **{name: f"{name}.mean" for name in ("surprisal", "entropy", "heat_capacity")},
}


def _texts(attribute: str, value: Any) -> Attributes:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts:
        return {}
    return {attribute: [_whole(text) for text in texts if isinstance(text, str)]}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# One value that the protocol cannot carry would cost the whole batch it is sent with.


def _sendable(value: int | float) -> Value:
    return value if -(1 << 63) <= value < 1 << 63 else str(value)


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
