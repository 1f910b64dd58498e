"""The words in which a question is put to the model, and the labels that answer it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heatbath.engine.base import ModelInfo
from heatbath.serve.api.schema import decisions as schema
from heatbath.serve.errors import ApiError, invalid_value

_YES = ("Yes", "No")
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


@dataclass(frozen=True)
class Put:
    """A question as it is put: the text of the prompt and the labels."""

    text: str
    labels: tuple[str, ...]


def put(question: schema.Question, told: str, place: str) -> Put:
    """A question about the text `told`.

    Raises:
        ApiError: 400 for labels that are not distinct, and parts that are no text.
    """
    instructions = _content(question.instructions, f"{place}.instructions")
    head = f"Input:\n{told}\n\n"
    if isinstance(question, schema.Predicate):
        return Put(f"{head}Statement: {instructions}\nIs the statement true of the input? Answer Yes or No only.", _YES)
    if isinstance(question, schema.Choice):
        labels = _choices(question.choices, f"{place}.choices")
        lines = _lines(labels, [option.description for option in question.choices])
        return Put(f"{head}{instructions}\nChoices:\n{lines}\nAnswer with one of the choices only.", labels)
    labels = _distinct([level.label for level in question.levels], f"{place}.levels")
    lines = _lines(labels, [level.description for level in question.levels])
    return Put(f"{head}{instructions}\nLevels, the lowest first:\n{lines}\nAnswer with one of the levels only.", labels)


def prompt(language: ModelInfo, text: str) -> tuple[int, ...]:
    """The tokens after which a label is to be expected."""
    chat: Callable[..., list[int]] | None = getattr(language, "chat", None)
    if chat is None:
        return tuple(language.encode(f"{text}\nAnswer: "))
    return tuple(chat([{"role": "user", "content": text}]))


def told(given: str | Sequence[Mapping[str, Any]]) -> str:
    """The input in words.

    Raises:
        ApiError: 400 for an item that is no text.
    """
    if isinstance(given, str):
        return given
    return "\n".join(_item(item, f"input[{i}]") for i, item in enumerate(given))


def _item(item: Mapping[str, Any], place: str) -> str:
    kind = item.get("type", "message")
    if kind == "message":
        role = item.get("role")
        if role not in ("user", "developer", "system", "assistant"):
            raise invalid_value(f"{place}.role is no role: give user, developer, system or assistant.", f"{place}.role")
        return f"{role}: {_content(item.get('content'), f'{place}.content')}"
    if kind in ("function_call", "custom_tool_call"):
        given = item.get("arguments" if kind == "function_call" else "input")
        return f"call of {_word(item.get('name'), f'{place}.name')}: {_word(given, f'{place}.arguments')}"
    if kind in ("function_call_output", "custom_tool_call_output"):
        return f"result: {_content(item.get('output'), f'{place}.output')}"
    message = f"{place}.type is not served: give messages, calls and their outputs."
    raise ApiError(400, message, code="unsupported_value", param=f"{place}.type")


def _content(content: Any, place: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise invalid_value(f"{place} is no text: give a text or a list of parts.", place)
    return "".join(_part(part, f"{place}[{i}]") for i, part in enumerate(content))


def _part(part: Any, place: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "input_json":
        return json.dumps(part.get("data"), ensure_ascii=False)
    if kind not in _TEXTS:
        message = f"{place}.type is not served: give parts of the types input_text and input_json."
        raise ApiError(400, message, code="unsupported_value", param=f"{place}.type")
    return _word(part.get(_TEXTS[kind]), f"{place}.{_TEXTS[kind]}")


def _word(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise invalid_value(f"{place} is no text: give one.", place)
    return value


def _choices(options: Sequence[schema.Option], place: str) -> tuple[str, ...]:
    """The texts of values; a text and a truth value that read alike are told apart as JSON."""
    values = [option.value for option in options]
    plain = [value if isinstance(value, str) else json.dumps(value) for value in values]
    if len(set(plain)) < len(plain) and len({(type(value), value) for value in values}) == len(values):
        return tuple(json.dumps(value, ensure_ascii=False) for value in values)
    return _distinct(plain, place)


def _distinct(labels: Sequence[str], place: str) -> tuple[str, ...]:
    if len(set(labels)) < len(labels):
        raise invalid_value(f"{place} has two that are the same: make each different.", place)
    return tuple(labels)


def _lines(labels: Sequence[str], descriptions: Sequence[str | None]) -> str:
    pairs = zip(labels, descriptions, strict=True)
    return "\n".join(f"- {label}: {text}" if text else f"- {label}" for label, text in pairs)
