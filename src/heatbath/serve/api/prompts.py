"""From messages, texts and token ids to the tokens of prompts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from heatbath.engine.base import ModelInfo
from heatbath.errors import HeatbathError
from heatbath.serve.api.reading import shown
from heatbath.serve.api.schema.chat import ChatRequest, Message, Tool
from heatbath.serve.api.schema.completions import Prompt
from heatbath.serve.errors import ApiError, as_api_error, invalid_value

R = TypeVar("R")
Tokens = tuple[int, ...]

_LONG = 65_536
"""Characters from which tokens are made in a thread: shorter texts take less time than the change of thread."""
_MOST_PROMPTS = 1024
_KNOWN_SETTINGS: Mapping[str, tuple[type, ...]] = {"enable_thinking": (bool,), "thinking": (bool,)}


class Chats(Protocol):
    """A language with a chat template."""

    takes_tools: bool

    def chat(self, messages: Sequence[Mapping[str, Any]], **more: Any) -> list[int]: ...


async def aside(make: Callable[[], R], letters: int) -> R:
    """What `make` gives, made in a thread where it takes long enough to be worth it."""
    return make() if letters < _LONG else await asyncio.to_thread(make)


def chat_prompt(language: ModelInfo, asked: ChatRequest, tools: Sequence[Tool]) -> Tokens:
    """The tokens of a conversation, up to where the answer begins.

    Raises:
        ApiError: 400 for messages that hold no text, or a model without a template.
    """
    if not hasattr(language, "chat"):
        raise invalid_value(f"{language.name} has no chat template: use /v1/completions.", "messages")
    chats = cast(Chats, language)
    native = bool(tools) and getattr(language, "takes_tools", False)
    messages = [_plain(message, f"messages[{i}]", native) for i, message in enumerate(asked.messages)]
    if tools and not native:
        messages = _told(messages, tools)
    more: dict[str, Any] = {"tools": [_described(tool) for tool in tools]} if native else {}
    more |= _options(asked, language)
    try:
        return tuple(chats.chat(messages, **more))
    except HeatbathError as error:
        wrong = as_api_error(error)
        raise ApiError(wrong.status, wrong.message, wrong.type, wrong.code, "messages", wrong.headers) from None


def _options(asked: ChatRequest, language: ModelInfo) -> dict[str, Any]:
    """How the template is asked to end, and its variables."""
    settings = asked.chat_template_kwargs or {}
    for name, value in settings.items():
        if not isinstance(value, _KNOWN_SETTINGS.get(name, ())):
            message = (
                f"chat_template_kwargs holds {shown(name)}: give only {', '.join(_KNOWN_SETTINGS)}, true or false."
            )
            raise invalid_value(message, "chat_template_kwargs")
    if asked.continue_final_message and asked.add_generation_prompt:
        message = "continue_final_message goes on within the last message: set add_generation_prompt to false."
        raise invalid_value(message, "continue_final_message")
    end = "open" if asked.continue_final_message else "closed" if asked.add_generation_prompt is False else "answer"
    found = {name: value for name, value in (("end", end), ("settings", settings)) if value and value != "answer"}
    if found and not hasattr(language, "takes_tools"):
        raise invalid_value(
            f"the template of {language.name} cannot end otherwise: leave the field out.", "add_generation_prompt"
        )
    return found


def _plain(message: Message, place: str, native: bool) -> dict[str, Any]:
    """A message of role and text. Calls and results are part of the text unless the template writes them itself."""
    if message.audio is not None:
        raise invalid_value(
            f"{place}.audio is not served: give the text of the message.", f"{place}.audio", "unsupported_value"
        )
    text = _text(message, place)
    role = {"developer": "system", "function": "tool"}.get(message.role, message.role)
    calls = _calls(message)
    if native and (calls or role == "tool"):
        more = {"tool_calls": [_call(*call) for call in calls]} if calls else {}
        return {"role": role, "content": text, **more}
    if role == "tool":
        return {"role": "user", "content": f"<tool_response>\n{text}\n</tool_response>"}
    if calls:
        text = "\n".join([*([text] if text else []), *(_spoken(*call) for call in calls)])
    if message.name and role == "user":
        text = f"{message.name}: {text}"
    return {"role": role, "content": text}


def _text(message: Message, place: str) -> str:
    if isinstance(message.content, str):
        return message.content
    if message.content is not None:
        return "".join(part.text or part.refusal or "" for part in message.content)
    if message.role == "assistant" and (message.tool_calls or message.function_call or message.refusal):
        return message.refusal or ""
    raise invalid_value(f"{place}.content is missing: give a text.", f"{place}.content", "missing_required_parameter")


def _calls(message: Message) -> list[tuple[str, str]]:
    called = [call.function for call in message.tool_calls or ()]
    called += [message.function_call] if message.function_call else []
    return [(function.name, function.arguments) for function in called]


def _call(name: str, arguments: str) -> dict[str, Any]:
    try:
        given = json.loads(arguments)
    except (ValueError, RecursionError):
        given = arguments
    return {"type": "function", "function": {"name": name, "arguments": given}}


def _spoken(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": {json.dumps(name)}, "arguments": {arguments or "{}"}}}\n</tool_call>'


def _described(tool: Tool) -> dict[str, Any]:
    function = tool.function
    parameters = function.parameters or {"type": "object", "properties": {}}
    described = {"name": function.name, "description": function.description or "", "parameters": parameters}
    return {"type": "function", "function": described}


def _told(messages: list[dict[str, Any]], tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The messages with the tools told in words, for a model whose template knows none."""
    lines = [json.dumps(_described(tool)["function"], ensure_ascii=False) for tool in tools]
    words = "\n".join(
        [
            "You can call these functions, one a line:",
            *lines,
            "To call one, answer with its name and arguments in this form:",
            '<tool_call>\n{"name": "the name", "arguments": {}}\n</tool_call>',
        ]
    )
    first, *rest = messages
    if first["role"] != "system":
        return [{"role": "system", "content": words}, *messages]
    return [{"role": "system", "content": f"{first['content']}\n\n{words}"}, *rest]


def completion_prompts(language: ModelInfo, prompt: Prompt) -> list[Tokens]:
    """The tokens of each prompt: a text, texts, token ids, or lists of them.

    Raises:
        ApiError: 400 for none, a mixture, or ids outside the vocabulary.
    """
    if isinstance(prompt, str):
        return [_encoded(language, prompt)]
    if not prompt:
        raise invalid_value('prompt is []: give a text, token ids, or a list of them ("" starts a document).', "prompt")
    if all(isinstance(part, int) for part in prompt):
        return [_checked(language, cast("list[int]", prompt), "prompt")]
    kinds = {type(part) for part in prompt}
    if len(kinds) > 1:
        raise invalid_value("prompt mixes texts and token ids: give a list of one kind.", "prompt")
    if len(prompt) > _MOST_PROMPTS:
        raise invalid_value(f"prompt holds {len(prompt)} prompts: give at most {_MOST_PROMPTS}.", "prompt")
    return [_one(language, part, f"prompt[{i}]") for i, part in enumerate(prompt)]


def _one(language: ModelInfo, part: Any, place: str) -> Tokens:
    return _encoded(language, part) if isinstance(part, str) else _checked(language, part, place)


def _encoded(language: ModelInfo, text: str) -> Tokens:
    return tuple(language.encode(text)) if text else ()


def _checked(language: ModelInfo, tokens: list[int], place: str) -> Tokens:
    size = language.vocabulary.size
    wrong = next((token for token in tokens if token >= size), None)
    if wrong is not None:
        raise invalid_value(f"{place} holds the token id {wrong}: give ids below {size}.", place)
    return tuple(tokens)
