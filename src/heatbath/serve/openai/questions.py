"""Questions of a decision as prompts, and the labels that answer them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heatbath.engine.base import ModelInfo
from heatbath.models.base import ChatModel, has_chat_template
from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.openai.schema import decisions as schema
from heatbath.serve.openai.validation import format_value

_YES_OR_NO = ("Yes", "No")
_TEXT_KEYS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


@dataclass(frozen=True)
class LabeledQuestion:
    """A question as the text of a prompt, and the labels that answer it."""

    text: str
    labels: tuple[str, ...]


def label_question(question: schema.Question, input_text: str, place: str) -> LabeledQuestion:
    """Return a question about `input_text`.

    Raises:
        ApiError: 400 for labels that are not distinct, and parts that are no text.
    """
    instructions = content_text(question.instructions, f"{place}.instructions")
    head = f"Input:\n{input_text}\n\n"
    if isinstance(question, schema.Predicate):
        text = f"{head}Statement: {instructions}\nIs the statement true of the input? Answer Yes or No only."
        return LabeledQuestion(text, _YES_OR_NO)
    if isinstance(question, schema.Choice):
        labels = choice_labels(question.choices, f"{place}.choices")
        lines = _format_lines(labels, [option.description for option in question.choices])
        text = f"{head}{instructions}\nChoices:\n{lines}\nAnswer with one of the choices only."
        return LabeledQuestion(text, labels)
    labels = _require_distinct([level.label for level in question.levels], f"{place}.levels")
    lines = _format_lines(labels, [level.description for level in question.levels])
    text = f"{head}{instructions}\nLevels, the lowest first:\n{lines}\nAnswer with one of the levels only."
    return LabeledQuestion(text, labels)


def question_prompt(language: ModelInfo, text: str) -> tuple[int, ...]:
    """Return the tokens after which a label is expected: by the chat template, or of a plain text without one."""
    if isinstance(language, ChatModel) and has_chat_template(language):
        return tuple(language.encode_chat([{"role": "user", "content": text}]))
    return tuple(language.encode(f"{text}\nAnswer: "))


def render_input(given: str | Sequence[Mapping[str, Any]]) -> str:
    """Return the input as text.

    Raises:
        ApiError: 400 for an item that is no text.
    """
    if isinstance(given, str):
        return given
    return "\n".join(_item_text(item, f"input[{i}]") for i, item in enumerate(given))


def _item_text(item: Mapping[str, Any], place: str) -> str:
    kind = item.get("type", "message")
    if kind == "message":
        role = item.get("role")
        if role not in ("user", "developer", "system", "assistant"):
            raise invalid_value(
                f"{place}.role is not a role: give user, developer, system or assistant.", f"{place}.role"
            )
        return f"{role}: {content_text(item.get('content'), f'{place}.content')}"
    if kind in ("function_call", "custom_tool_call"):
        given = item.get("arguments" if kind == "function_call" else "input")
        return (
            f"call of {_require_text(item.get('name'), f'{place}.name')}: {_require_text(given, f'{place}.arguments')}"
        )
    if kind in ("function_call_output", "custom_tool_call_output"):
        return f"result: {content_text(item.get('output'), f'{place}.output')}"
    message = f"{place}.type is not served: give messages, calls and their outputs."
    raise ApiError(400, message, code="unsupported_value", param=f"{place}.type")


def content_text(content: Any, place: str) -> str:
    """Return a text, or the text of a list of parts.

    Raises:
        ApiError: 400 for parts that are no text.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise invalid_value(f"{place} is not a text: give a text or a list of parts.", place)
    return "".join(_part_text(part, f"{place}[{i}]") for i, part in enumerate(content))


def _part_text(part: Any, place: str) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "input_json":
        return json.dumps(part.get("data"), ensure_ascii=False)
    if kind not in _TEXT_KEYS:
        message = f"{place}.type is {format_value(kind)}, and this model reads text: give parts of type input_text."
        raise ApiError(400, message, code="unsupported_value", param=f"{place}.type")
    return _require_text(part.get(_TEXT_KEYS[kind]), f"{place}.{_TEXT_KEYS[kind]}")


def _require_text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise invalid_value(f"{place} is not a text: give one.", place)
    return value


def choice_labels(options: Sequence[schema.Option], place: str) -> tuple[str, ...]:
    """Return the values as texts; a text and a truth value that read alike become JSON, which distinguishes them."""
    values = [option.value for option in options]
    plain = [value if isinstance(value, str) else json.dumps(value) for value in values]
    if len(set(plain)) < len(plain) and len({(type(value), value) for value in values}) == len(values):
        return tuple(json.dumps(value, ensure_ascii=False) for value in values)
    return _require_distinct(plain, place)


def _require_distinct(labels: Sequence[str], place: str) -> tuple[str, ...]:
    if len(set(labels)) < len(labels):
        raise invalid_value(f"{place} has two that are the same: make each different.", place)
    return tuple(labels)


def _format_lines(labels: Sequence[str], descriptions: Sequence[str | None]) -> str:
    pairs = zip(labels, descriptions, strict=True)
    return "\n".join(f"- {label}: {text}" if text else f"- {label}" for label, text in pairs)
