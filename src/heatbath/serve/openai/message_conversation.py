"""Messages in Anthropic's form as a chat request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.openai.schema import messages as schema
from heatbath.serve.openai.schema.chat import (
    ChatRequest,
    FunctionCall,
    FunctionDefinition,
    FunctionName,
    Message,
    Tool,
    ToolCall,
    ToolChoice,
)
from heatbath.serve.openai.schema.sampling import JsonSchema, ResponseFormat

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_PARAMS = (
    (re.compile(r"^stop\b"), "stop_sequences"),
    (re.compile(r"(tools\[\d+\])\.function\.parameters"), r"\1.input_schema"),
    (re.compile(r"(tools\[\d+\])\.function"), r"\1"),
    (re.compile(r"tool_choice\.function(\.name)?"), "tool_choice.name"),
    (re.compile(r"response_format(\.json_schema(\.schema)?)?"), "output_config.format.schema"),
    (re.compile(r"add_generation_prompt|continue_final_message"), "messages"),
)
"""Fields of a chat, and the names of the fields here that they are made from."""


def build_conversation(body: schema.CountTokensRequest) -> ChatRequest:
    """Return the chat request of a conversation.

    A last message of the assistant is continued. Blocks of text in one message are joined by line breaks, thoughts of
    earlier turns are left out.

    Raises:
        ApiError: 400 for blocks that the role of their message may not have.
    """
    messages = [Message(role="system", content=_join(body.system))] if body.system else []
    for i, message in enumerate(body.messages):
        messages += _convert_message(message, f"messages[{i}]")
    messages = _merge_turns(messages)
    conversation = ChatRequest(model=body.model, messages=messages)
    if messages[-1].role == "assistant":
        _continue_last(conversation, len(body.messages) - 1)
    _add_tools(conversation, body)
    if body.output_config is not None and body.output_config.format is not None:
        form = JsonSchema(name="output", schema=body.output_config.format.schema)
        conversation.response_format = ResponseFormat(type="json_schema", json_schema=form)
    return conversation


def add_sampling(conversation: ChatRequest, body: schema.MessageRequest) -> ChatRequest:
    """Return the chat request with the options of a message."""
    conversation.max_tokens, conversation.stream = body.max_tokens, body.stream
    conversation.temperature, conversation.top_k, conversation.top_p = body.temperature, body.top_k, body.top_p
    conversation.stop = body.stop_sequences or None
    conversation.user = body.metadata.user_id if body.metadata is not None else None
    conversation.seed, conversation.thermo = body.seed, body.thermo
    return conversation


def rename_fields(error: ApiError) -> ApiError:
    """Return an error about a field of the chat as one about the field that it was made from."""
    param = error.param or ""
    for pattern, replacement in _PARAMS:
        param = pattern.sub(replacement, param)
    message = error.message if not error.param else error.message.replace(error.param, param)
    return ApiError(error.status, message, error.type, error.code, param or None, error.headers)


def _convert_message(message: schema.ConversationMessage, place: str) -> Iterator[Message]:
    """Yield the messages of one: results of tools are messages of their own, before the text."""
    if isinstance(message.content, str):
        yield Message(role=message.role, content=message.content)
        return
    _check_blocks(message.content, message.role, place)
    texts = []
    for block in message.content:
        if isinstance(block, schema.ToolResultBlock):
            yield Message(role="tool", content=_result_text(block), tool_call_id=block.tool_use_id)
        elif not isinstance(block, schema.ToolUseBlock | schema.ThinkingBlock | schema.RedactedThinkingBlock):
            texts.append(_block_text(block))
    calls = [_convert_call(block) for block in message.content if isinstance(block, schema.ToolUseBlock)]
    if texts or calls or message.role == "assistant":
        yield Message(role=message.role, content="\n".join(texts), tool_calls=calls or None)


_ROLES: dict[type, tuple[str, ...]] = {
    schema.ToolUseBlock: ("assistant",),
    schema.ThinkingBlock: ("assistant",),
    schema.RedactedThinkingBlock: ("assistant",),
    schema.ToolResultBlock: ("user",),
    schema.DocumentBlock: ("user",),
    schema.SearchResultBlock: ("user",),
}
"""The roles whose messages may have a block; all may have text."""


def _check_blocks(blocks: Sequence[schema.Block], role: str, place: str) -> None:
    if not blocks and role != "assistant":
        raise invalid_value(f"{place}.content is []: give a text or blocks.", f"{place}.content")
    for i, block in enumerate(blocks):
        roles = _ROLES.get(type(block), (role,))
        if role not in roles:
            param = f"{place}.content[{i}].type"
            kind = block.__struct_config__.tag
            text = f"{param} is {kind!r} in a message of the {role}: put it into one of the {roles[0]}."
            raise invalid_value(text, param)


def _convert_call(block: schema.ToolUseBlock) -> ToolCall:
    arguments = json.dumps(block.input, ensure_ascii=False)
    return ToolCall(id=block.id, function=FunctionCall(name=block.name, arguments=arguments))


def _result_text(block: schema.ToolResultBlock) -> str:
    text = _join(block.content or "")
    return f"Error: {text}" if block.is_error else text


def _join(content: str | Sequence[schema.TextualBlock]) -> str:
    return content if isinstance(content, str) else "\n".join(map(_block_text, content))


def _block_text(block: schema.Block) -> str:
    if isinstance(block, schema.DocumentBlock):
        source = block.source
        text = source.data if isinstance(source, schema.PlainTextSource) else _join(source.content)
        return "\n".join([part for part in (block.title, block.context) if part] + [text])
    if isinstance(block, schema.SearchResultBlock):
        return "\n".join([block.title, block.source, _join(block.content)])
    assert isinstance(block, schema.TextBlock)
    return block.text


def _merge_turns(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with those joined that one role says in a row, which many templates refuse."""
    merged: list[Message] = []
    for message in messages:
        last = merged[-1] if merged else None
        if last is None or last.role != message.role or message.role == "tool" or last.tool_calls:
            merged.append(message)
        else:
            text = f"{last.content}\n{message.content}"
            merged[-1] = Message(role=message.role, content=text, tool_calls=message.tool_calls)
    return merged


def _continue_last(conversation: ChatRequest, number: int) -> None:
    """Let the response go on within the last message, which is the assistant's."""
    if conversation.messages[-1].tool_calls:
        param = f"messages[{number}]"
        raise invalid_value(f"{param} calls tools and is the last: give a tool_result for each call.", param)
    conversation.continue_final_message, conversation.add_generation_prompt = True, False


def _add_tools(conversation: ChatRequest, body: schema.CountTokensRequest) -> None:
    if body.tools:
        conversation.tools = [_convert_tool(tool) for tool in body.tools]
    choice = body.tool_choice
    if choice is None:
        return
    if choice.type != "tool":
        conversation.tool_choice = _CHOICES[choice.type]  # type: ignore[assignment]
    elif choice.name is None:
        param = "tool_choice.name"
        raise invalid_value(f"{param} is missing: name a tool.", param, "missing_required_parameter")
    else:
        conversation.tool_choice = ToolChoice(type="function", function=FunctionName(name=choice.name))
    if choice.disable_parallel_tool_use:
        conversation.parallel_tool_calls = False


def _convert_tool(tool: schema.ToolDefinition) -> Tool:
    function = FunctionDefinition(
        name=tool.name, description=tool.description, parameters=tool.input_schema, strict=tool.strict
    )
    return Tool(type="function", function=function)
