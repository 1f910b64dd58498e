"""POST /v1/messages and /v1/messages/count_tokens: a chat in Anthropic's form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from heatbath.models.base import ToolModel
from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.http.asgi import encode_message_error
from heatbath.serve.openai.chat import respond
from heatbath.serve.openai.message_conversation import add_sampling, build_conversation, rename_fields
from heatbath.serve.openai.message_stream import MessageStreamWriter, tool_use_prefix
from heatbath.serve.openai.outputs import WITHHELD, ChoiceOutput, PromptOutput, usage
from heatbath.serve.openai.prompts import chat_prompt
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.responder import Responder
from heatbath.serve.openai.schema import messages as schema
from heatbath.serve.openai.schema.chat import ChatRequest
from heatbath.serve.openai.schema.response_bodies import ResponseToolCall
from heatbath.serve.openai.tool_calls import build_toolbox, parse_calls

_REFUSALS = {
    "mcp_servers": (bool, "connects to no other servers; give tools"),
    "container": (bool, "runs no code"),
    "context_management": (bool, "edits no conversations; send the messages that count"),
    "stop": (bool, "takes stop_sequences at this path"),
    "output_format": (bool, "takes output_config.format"),
}


async def messages(context: RequestContext) -> Any:
    """Respond to a conversation. Where fewer tokens fit than asked for, those that fit are generated."""
    body = await context.read_body(schema.MessageRequest, _REFUSALS)
    _note_ignored(context, body)
    context.encode_stream_error = partial(encode_message_error, request_id=context.id)
    try:
        conversation = add_sampling(_build_conversation(context, body), body)
        try:
            return await _respond(context, conversation, fills_context=False)
        except ApiError as error:
            if error.code != "context_length_exceeded" or error.param != "max_tokens":
                raise
        conversation.max_tokens = None
        return await _respond(context, conversation, fills_context=True)
    except ApiError as error:
        raise rename_fields(error) from None


async def _respond(context: RequestContext, conversation: ChatRequest, *, fills_context: bool) -> Any:
    builder = partial(MessageResponder, fills_context=fills_context)
    return await respond(context, conversation, builder, id_prefix="msg_", settings=conversation)


async def count_tokens(context: RequestContext) -> Response:
    """Return the number of tokens of a conversation."""
    body = await context.read_body(schema.CountTokensRequest, _REFUSALS)
    context.services.model_names.resolve(body.model)
    _note_ignored(context, body)
    try:
        conversation = _build_conversation(context, body)
        toolbox = build_toolbox(conversation)
        prompt = await context.offload(partial(chat_prompt, context.language, conversation, toolbox.tools))
    except ApiError as error:
        raise rename_fields(error) from None
    return context.json_response(schema.TokenCount(len(prompt)))


def _build_conversation(context: RequestContext, body: schema.CountTokensRequest) -> ChatRequest:
    """Return the chat request; the model has to be able to continue a last message of the assistant."""
    conversation = build_conversation(body)
    if conversation.continue_final_message and not isinstance(context.language, ToolModel):
        message = f"the template of {context.language.name} continues no message: end with one of the user."
        raise invalid_value(message, "messages")
    return conversation


def _note_ignored(context: RequestContext, body: schema.CountTokensRequest) -> None:
    if body.output_config is not None and body.output_config.effort is not None:
        context.ignored.append("output_config.effort")


@dataclass(frozen=True)
class MessageResponder(Responder[ChatRequest, schema.MessageResponse]):
    """Responds to one request; `fills_context`: fewer tokens fit than were asked for."""

    has_tools: bool = False
    fills_context: bool = False

    def build_writer(self) -> MessageStreamWriter:
        return MessageStreamWriter(self.body, self.task, self.head, self.texts, source=self)

    def build_message(self, output: ChoiceOutput, has_calls: bool) -> schema.MessageResponse:
        """Return a message without content; one that has not ended has no reason for it."""
        thermo: dict[str, Any] | UnsetType = UNSET
        is_described = self.body.thermo is not None or self.task.meter is not None or self.task.gate is not None
        if is_described and output.finish is not None:
            thermo = self.describe_choice(output)
        total = usage(self.task.outputs)
        cached = total.prompt_tokens_details.cached_tokens
        counts = schema.MessageUsage(
            input_tokens=total.prompt_tokens - cached,
            output_tokens=total.completion_tokens,
            cache_read_input_tokens=cached,
        )
        return schema.MessageResponse(
            id=self.head.id,
            model=self.head.model,
            content=[],
            stop_reason=None if output.finish is None else self._stop_reason(output, has_calls),
            stop_sequence=output.stopped if isinstance(output.stopped, str) and not has_calls else None,
            usage=counts,
            thermo=thermo,
        )

    def build_choice(self, prompt: int, index: int, output: ChoiceOutput, text: str) -> schema.MessageResponse:
        content: list[schema.TextBlock | schema.ToolUseBlock] = []
        calls: list[schema.ToolUseBlock] = []
        calls_are_complete = False
        if self.has_tools:
            parsed, calls_are_complete = parse_calls(text, tool_use_prefix(self.task))
            text = parsed.content or ""
            calls = complete_calls(parsed.tool_calls or [])
        if text:
            content.append(schema.TextBlock(text=text))
        message = self.build_message(output, calls_are_complete)
        message.content = [*content, *calls]
        return message

    def build_response(
        self,
        outputs: Sequence[PromptOutput],
        choices: list[schema.MessageResponse],
        thermo: dict[str, Any] | UnsetType,
    ) -> schema.MessageResponse:
        (message,) = choices
        if not isinstance(thermo, UnsetType):
            of_choice = {} if isinstance(message.thermo, UnsetType) else message.thermo
            message.thermo = {**of_choice, **thermo}
        return message

    def stored_content(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        (message,) = choices
        texts = [block["text"] for block in message["content"] if block["type"] == "text"]
        given = [
            {name: value for name, value in each.items() if value is not None}
            for each in msgspec.to_builtins(self.body.messages)
        ]
        return {"messages": given, "answers": ["".join(texts)], "response": message}

    def _stop_reason(self, output: ChoiceOutput, has_calls: bool) -> schema.StopReason:
        if output.finish == WITHHELD:
            return "refusal"
        if output.finish != "stop":
            is_full = self.fills_context and output.finish == "length"
            return "model_context_window_exceeded" if is_full else "max_tokens"
        if has_calls:
            return "tool_use"
        return "stop_sequence" if isinstance(output.stopped, str) else "end_turn"


def complete_calls(calls: Sequence[ResponseToolCall]) -> list[schema.ToolUseBlock]:
    """Return the calls whose arguments are complete: a client might run a tool on a part of them."""
    blocks = []
    for call in calls:
        try:
            arguments = json.loads(call.function.arguments)
        except (ValueError, RecursionError):
            continue
        if isinstance(arguments, dict):
            blocks.append(schema.ToolUseBlock(id=call.id, name=call.function.name, input=arguments))
    return blocks
