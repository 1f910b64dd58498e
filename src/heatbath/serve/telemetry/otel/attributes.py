"""Attributes of a span, from a request and its outcome."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from heatbath.serve.interfaces import RequestInfo, RequestOutcome
from heatbath.serve.telemetry.otel import conventions

Value = str | bool | int | float | Sequence[str] | Sequence[float]
Attributes = dict[str, Value]


def request_attributes(request: RequestInfo, operation: str, *, latest: bool) -> Attributes:
    """Return the attributes known at arrival. `latest`: in the names of the newest conventions."""
    attributes: Attributes = {
        conventions.OPERATION_NAME: operation,
        conventions.PROVIDER_NAME: conventions.PROVIDER,
        conventions.REQUEST_MODEL: _replace_surrogates(request.model),
        conventions.STREAM: request.stream,
    }
    for name, (attribute, kind) in conventions.NUMBER_ATTRIBUTES.items():
        value = request.settings.get(name)
        if _is_number(value):
            attributes[attribute] = _to_sendable(kind(value))
    if _is_number(request.settings.get("top_k")):
        attributes[conventions.TOP_K] = _to_sendable((int if latest else float)(request.settings["top_k"]))
    prompt = request.settings.get("prompt")
    if isinstance(prompt, Mapping):
        attributes |= {conventions.PROMPT_NAME: prompt["name"], conventions.PROMPT_VERSION: prompt["version"]}
    attributes |= _text_attribute(conventions.STOP_SEQUENCES, request.settings.get("stop"))
    return attributes | _text_attribute(conventions.ENCODING_FORMATS, request.settings.get("encoding_format"))


def response_attributes(outcome: RequestOutcome, model: str, *, latest: bool) -> Attributes:
    """Return the attributes known at the end; `model` is the one that generated."""
    attributes: Attributes = {
        conventions.RESPONSE_ID: conventions.ID_PREFIXES.get(outcome.request.endpoint, "") + outcome.request.id,
        conventions.RESPONSE_MODEL: model,
        conventions.INPUT_TOKENS: outcome.prompt_tokens,
        conventions.OUTPUT_TOKENS: outcome.completion_tokens,
        conventions.CACHED_TOKENS: outcome.cached_tokens,
    }
    if latest:
        attributes[conventions.TEXT_INPUT_TOKENS] = outcome.prompt_tokens
        attributes[conventions.TEXT_OUTPUT_TOKENS] = outcome.completion_tokens
    if any(outcome.finish_reasons):
        attributes[conventions.FINISH_REASONS] = list(outcome.finish_reasons)
    if outcome.first_token_seconds is not None:
        attributes[conventions.FIRST_CHUNK] = outcome.first_token_seconds
    if outcome.status >= 400:
        attributes[conventions.ERROR_TYPE] = _replace_surrogates(outcome.error or str(outcome.status))
    return attributes | thermo_attributes(outcome.summary)


def thermo_attributes(summary: Sequence[Mapping[str, Any]]) -> Attributes:
    """Return the numbers of the choices' summaries, each as the list over choices; NaN where a choice has none."""
    flat = [_flatten_numbers(choice) for choice in summary]
    keys = sorted({key for choice in flat for key in choice})
    return {f"{conventions.THERMO}.{key}": [choice.get(key, math.nan) for choice in flat] for key in keys}


def content_attributes(outcome: RequestOutcome) -> Attributes:
    """Return prompt and completions as JSON messages of the conventions; none where the content was not kept."""
    if outcome.content is None:
        return {}
    inputs, answers = _convert_messages(outcome.content), outcome.content.get("answers") or []
    outputs = [
        _build_message("assistant", answer) | {"finish_reason": reason}
        for answer, reason in zip(answers, [*outcome.finish_reasons, *[""] * len(answers)], strict=False)
    ]
    return {conventions.INPUT_MESSAGES: _encode_json(inputs), conventions.OUTPUT_MESSAGES: _encode_json(outputs)}


def _convert_messages(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "messages" in content:
        return [_build_message(str(message["role"]), message) for message in content["messages"]]
    prompt = content.get("prompt", "")
    return [_build_message("user", text) for text in ([prompt] if isinstance(prompt, str) else prompt)]


def _build_message(role: str, source: Any) -> dict[str, Any]:
    """Return a message of one part; `source` is its text, or a mapping that holds it."""
    inner = source.get("content", source.get("text")) if isinstance(source, Mapping) else source
    text = inner if isinstance(inner, str) else _encode_json(inner)
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _encode_json(value: Any) -> str:
    return _replace_surrogates(json.dumps(value, ensure_ascii=False, default=str))


def _flatten_numbers(choice: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, value in choice.items():
        if isinstance(value, Mapping):
            numbers |= _flatten_numbers(value, f"{prefix}{_replace_surrogates(name)}.")
        elif _is_number(value):
            numbers[prefix + _replace_surrogates(_ATTRIBUTE_NAMES.get(name, name))] = float(value)
    return numbers


_ATTRIBUTE_NAMES = {
    "n": "tokens",
    "log_z": "log_z_centred.mean",
    **{name: f"{name}.mean" for name in ("surprisal", "entropy", "heat_capacity")},
}


def _text_attribute(attribute: str, value: Any) -> Attributes:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts:
        return {}
    return {attribute: [_replace_surrogates(text) for text in texts if isinstance(text, str)]}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# One value that the protocol cannot carry would cost the whole batch it is sent with.


def _to_sendable(value: int | float) -> Value:
    return value if -(1 << 63) <= value < 1 << 63 else str(value)


def _replace_surrogates(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
