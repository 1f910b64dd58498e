"""Items of the Responses API: from a request's input to chat messages, and to the form in which they are stored."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.questions import content_text
from heatbath.serve.openai.schema import chat
from heatbath.serve.openai.schema.response_objects import (
    CallOutput,
    CompactionItem,
    InputCall,
    InputItem,
    InputMessage,
    ItemReference,
    ReasoningItem,
)
from heatbath.serve.openai.validation import convert_value

Item = dict[str, Any]
_ITEM_ID = re.compile(r"[a-z]+_([0-9a-f]{32})_\w+")
_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
    "compaction": "cmp",
}
_MAX_ITEMS = 4096
_SUMMARY_MARK = b"heatbath 1\n"


def response_hex(item_id: str) -> str | None:
    """Return the id of the request that gave an item its id, None for an id that was made elsewhere."""
    match = _ITEM_ID.fullmatch(item_id)
    return match[1] if match else None


def read_items(given: str | Sequence[Item] | None, ignored: list[str]) -> list[InputItem]:
    """Return the items of `input`; a text is one message of the user. Unknown fields are added to `ignored`.

    Raises:
        ApiError: 400 that names the item and its field.
    """
    if isinstance(given, str):
        return [InputMessage(role="user", content=given)]
    if len(given or ()) > _MAX_ITEMS:
        raise invalid_value(f"input has {len(given or ())} items: give at most {_MAX_ITEMS}.", "input")
    items = []
    for i, item in enumerate(given or ()):
        value = {"type": _default_type(item), **{key: inner for key, inner in item.items() if inner is not None}}
        read: InputItem = convert_value(value, InputItem, f"input[{i}]")
        unknown = [f"input.{name}" for name in value if name not in {"type", *read.__struct_encode_fields__}]
        ignored += [name for name in unknown if name not in ignored]
        if isinstance(read, ReasoningItem) and "input.reasoning" not in ignored:
            ignored.append("input.reasoning")
        items.append(read)
    return items


def _default_type(item: Item) -> str:
    return "item_reference" if set(item) == {"id"} else "message"


async def resolve_references(
    items: Sequence[InputItem], context: Sequence[Item], find_item: Callable[[str], Awaitable[Item | None]]
) -> list[InputItem]:
    """Return `items` with the stored ones in place of references to them, out of `context` or by `find_item`.

    Raises:
        ApiError: 400, there is no item of that id.
    """
    known = {item["id"]: item for item in context}
    resolved: list[InputItem] = []
    for i, item in enumerate(items):
        if not isinstance(item, ItemReference):
            resolved.append(item)
            continue
        if item.id in known:
            # It is part of the context already; a second time would repeat it.
            continue
        found = await find_item(item.id)
        if found is None:
            message = f"input[{i}].id names no stored item of yours: give the item itself."
            raise invalid_value(message, f"input[{i}].id", "item_not_found")
        resolved.append(convert_value(found, InputItem, f"input[{i}]"))
    return resolved


def store_items(items: Sequence[InputItem], id: str) -> list[Item]:
    """Return items as they are stored: each with an id, messages as lists of parts. `id` is the request's."""
    stored = []
    for i, item in enumerate(items):
        value: Item = msgspec.to_builtins(item)
        if not value.get("id"):
            value["id"] = f"{_PREFIXES[value['type']]}_{id}_in{i}"
        if isinstance(item, InputMessage) and isinstance(item.content, str):
            kind = "output_text" if item.role == "assistant" else "input_text"
            part: Item = {"type": kind, "text": item.content}
            value["content"] = [part | ({"annotations": [], "logprobs": []} if item.role == "assistant" else {})]
        value["status"] = value.get("status") or "completed"
        stored.append({name: inner for name, inner in value.items() if inner is not None})
    return stored


def chat_messages(instructions: str | None, items: Sequence[InputItem], *, required: bool = True) -> list[chat.Message]:
    """Return the messages that items stand for; calls in a row are those of one message. `required`: there are some.

    `instructions` and the system messages at the start become one message, which is as many as most templates take.

    Raises:
        ApiError: 400 for parts that are no text, and outputs of calls that were not made.
    """
    messages: list[chat.Message] = []
    system = [instructions] if instructions else []
    calls: set[str] = set()
    for message in _messages(items, calls):
        if message.role in ("system", "developer") and not messages:
            system.append(str(message.content))
        else:
            messages.append(message)
    if system:
        messages.insert(0, chat.Message(role="system", content="\n\n".join(system)))
    if required and not messages:
        raise invalid_value("input is missing: give a text or items.", "input", "missing_required_parameter")
    return messages


def _messages(items: Sequence[InputItem], calls: set[str]) -> Iterator[chat.Message]:
    waiting: chat.Message | None = None
    for i, item in enumerate(items):
        place = f"input[{i}]"
        if isinstance(item, InputCall):
            calls.add(item.call_id)
            call = chat.ToolCall(id=item.call_id, function=chat.FunctionCall(name=item.name, arguments=item.arguments))
            if waiting is None:
                waiting = chat.Message(role="assistant", tool_calls=[call])
            else:
                waiting.tool_calls = [*(waiting.tool_calls or ()), call]
            continue
        if isinstance(item, ReasoningItem | ItemReference):
            continue
        if waiting is not None:
            yield waiting
            waiting = None
        if isinstance(item, CallOutput):
            yield _output_message(item, calls, place)
        elif isinstance(item, CompactionItem):
            summary = read_summary(item.encrypted_content, f"{place}.encrypted_content")
            yield chat.Message(role="system", content=f"The conversation so far, in short:\n{summary}")
        elif item.role == "assistant":
            waiting = chat.Message(role="assistant", content=_text(item.content, f"{place}.content"))
        else:
            yield chat.Message(role=item.role, content=_text(item.content, f"{place}.content"))
    if waiting is not None:
        yield waiting


def write_summary(text: str) -> str:
    """Return the content of a compaction item: it hides nothing, and is not to be edited."""
    return base64.urlsafe_b64encode(_SUMMARY_MARK + text.encode()).decode()


def read_summary(content: str, place: str) -> str:
    """Return the text of `write_summary`. Raises `ApiError`, 400, for the content of another server."""
    try:
        decoded = base64.urlsafe_b64decode(content.encode("ascii"))
        if decoded.startswith(_SUMMARY_MARK):
            return decoded.removeprefix(_SUMMARY_MARK).decode()
    except ValueError:
        pass
    raise invalid_value(f"{place} was not written by this server: give the messages themselves.", place)


def _output_message(item: CallOutput, calls: set[str], place: str) -> chat.Message:
    if item.call_id not in calls:
        message = f"{place}.call_id belongs to no function call before it: give the call too."
        raise invalid_value(message, f"{place}.call_id")
    return chat.Message(role="tool", content=_text(item.output, f"{place}.output"), tool_call_id=item.call_id)


def _text(content: str | Sequence[Mapping[str, Any]], place: str) -> str:
    return content_text(content, place) if content else ""


def find_in(items: Sequence[Item], id: str) -> Item | None:
    """Return the item of an id."""
    return next((item for item in items if item.get("id") == id), None)
