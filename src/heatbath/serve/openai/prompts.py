"""Prompts as token ids: from chat messages, texts, or token ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from heatbath.engine.base import ModelInfo
from heatbath.errors import HeatbathError
from heatbath.models.base import ChatModel, ToolModel
from heatbath.serve.errors import ApiError, as_api_error, invalid_value
from heatbath.serve.openai.schema.chat import ChatRequest, FunctionCall, Message, TextPart, Tool
from heatbath.serve.openai.schema.completions import Prompt
from heatbath.serve.openai.validation import format_value

Tokens = tuple[int, ...]

_MAX_PROMPTS = 1024
_TEMPLATE_VARIABLES: Mapping[str, tuple[type, ...]] = {"enable_thinking": (bool,), "thinking": (bool,)}
_ROLES = {"developer": "system", "function": "tool"}


def chat_prompt(language: ModelInfo, body: ChatRequest, tools: Sequence[Tool]) -> Tokens:
    """Return the tokens of a conversation, up to where the response begins.

    Raises:
        ApiError: 400 for messages that hold no text, or a model without a template.
    """
    if not isinstance(language, ChatModel):
        raise invalid_value(f"{language.name} has no chat template: use /v1/completions.", "messages")
    chat: Callable[..., list[int]] = language.encode_chat
    native = bool(tools) and isinstance(language, ToolModel) and language.takes_tools
    messages = []
    for i, message in enumerate(body.messages):
        messages.append(_template_message(message, f"messages[{i}]", native))
    if tools and not native:
        messages = _with_tool_instructions(messages, tools)
    options: dict[str, Any] = {}
    if body.chat_template_kwargs or body.continue_final_message or body.add_generation_prompt is False:
        options = _template_options(body, language)
    if native:
        options["tools"] = [_tool_description(tool) for tool in tools]
    try:
        return tuple(chat(messages, **options))
    except HeatbathError as error:
        refusal = as_api_error(error)
        raise ApiError(
            refusal.status, refusal.message, refusal.type, refusal.code, "messages", refusal.headers
        ) from None


def _template_options(body: ChatRequest, language: ModelInfo) -> dict[str, Any]:
    """Return how the template ends, and its variables, where they differ from the default."""
    variables = body.chat_template_kwargs or {}
    for name, value in variables.items():
        if not isinstance(value, _TEMPLATE_VARIABLES.get(name, ())):
            names = ", ".join(_TEMPLATE_VARIABLES)
            message = f"chat_template_kwargs holds {format_value(name)}: give only {names}, true or false."
            raise invalid_value(message, "chat_template_kwargs")
    if body.continue_final_message and body.add_generation_prompt:
        message = "continue_final_message goes on within the last message: set add_generation_prompt to false."
        raise invalid_value(message, "continue_final_message")
    options: dict[str, Any] = {"settings": variables} if variables else {}
    if body.continue_final_message:
        options["end"] = "open"
    elif body.add_generation_prompt is False:
        options["end"] = "closed"
    if options and not isinstance(language, ToolModel):
        message = f"the template of {language.name} cannot end otherwise: leave the field out."
        raise invalid_value(message, "add_generation_prompt")
    return options


def _template_message(message: Message, place: str, native: bool) -> dict[str, Any]:
    """Return a message of role and text. Calls and results become text unless the template writes them itself."""
    if message.audio is not None:
        param = f"{place}.audio"
        raise invalid_value(f"{param} is not served: give the text of the message.", param, "unsupported_value")
    text = message.content if isinstance(message.content, str) else _text(message, place)
    role = _ROLES.get(message.role, message.role)
    calls = [call.function for call in message.tool_calls] if message.tool_calls else []
    calls += [message.function_call] if message.function_call else []
    if native and (calls or role == "tool"):
        native_calls = {"tool_calls": [_native_call(call) for call in calls]} if calls else {}
        return {"role": role, "content": text, **native_calls}
    if role == "tool":
        return {"role": "user", "content": f"<tool_response>\n{text}\n</tool_response>"}
    if calls:
        text = "\n".join([*([text] if text else []), *(_call_text(call) for call in calls)])
    if message.name and role == "user":
        text = f"{message.name}: {text}"
    return {"role": role, "content": text}


def _text(message: Message, place: str) -> str:
    if isinstance(message.content, list):
        return "".join([part.text if isinstance(part, TextPart) else part.refusal for part in message.content])
    if message.role == "assistant":
        return message.refusal or ""
    raise invalid_value(f"{place}.content is missing: give a text.", f"{place}.content", "missing_required_parameter")


def _native_call(call: FunctionCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        arguments = call.arguments
    return {"type": "function", "function": {"name": call.name, "arguments": arguments}}


def _call_text(call: FunctionCall) -> str:
    return f'<tool_call>\n{{"name": {json.dumps(call.name)}, "arguments": {call.arguments or "{}"}}}\n</tool_call>'


def _tool_description(tool: Tool) -> dict[str, Any]:
    function = tool.function
    parameters = function.parameters or {"type": "object", "properties": {}}
    description = {"name": function.name, "description": function.description or "", "parameters": parameters}
    return {"type": "function", "function": description}


def _with_tool_instructions(messages: list[dict[str, Any]], tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Return the messages with the tools described in text, for a model whose template has no place for them."""
    lines = [json.dumps(_tool_description(tool)["function"], ensure_ascii=False) for tool in tools]
    instructions = "\n".join(
        [
            "You can call these functions, one a line:",
            *lines,
            "To call one, answer with its name and arguments in this form:",
            '<tool_call>\n{"name": "the name", "arguments": {}}\n</tool_call>',
        ]
    )
    first, *rest = messages
    if first["role"] != "system":
        return [{"role": "system", "content": instructions}, *messages]
    return [{"role": "system", "content": f"{first['content']}\n\n{instructions}"}, *rest]


def completion_prompts(language: ModelInfo, prompt: Prompt) -> list[Tokens]:
    """Return the tokens of each prompt: a text, texts, token ids, or lists of them.

    Raises:
        ApiError: 400 for none, a mixture, or ids outside the vocabulary.
    """
    if isinstance(prompt, str):
        return [_encode(language, prompt, "prompt")]
    if not prompt:
        raise invalid_value('prompt is []: give a text, token ids, or a list of them ("" starts a document).', "prompt")
    if all(isinstance(part, int) for part in prompt):
        return [_encode(language, cast("list[int]", prompt), "prompt")]
    if len({type(part) for part in prompt}) > 1:
        raise invalid_value("prompt mixes texts and token ids: give a list of one kind.", "prompt")
    if len(prompt) > _MAX_PROMPTS:
        raise invalid_value(f"prompt holds {len(prompt)} prompts: give at most {_MAX_PROMPTS}.", "prompt")
    return [_encode(language, cast("str | list[int]", part), f"prompt[{i}]") for i, part in enumerate(prompt)]


def _encode(language: ModelInfo, part: str | list[int], place: str) -> Tokens:
    if isinstance(part, str):
        return tuple(language.encode(part)) if part else ()
    size = language.vocabulary.size
    wrong = next((token for token in part if token >= size), None)
    if wrong is not None:
        raise invalid_value(f"{place} holds the token id {wrong}: give ids below {size}.", place)
    return tuple(part)
