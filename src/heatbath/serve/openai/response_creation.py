"""POST /v1/responses: a request becomes that of a chat, and what is generated becomes items of a response."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from heatbath.serve.errors import ApiError, as_api_error
from heatbath.serve.openai.chat import respond
from heatbath.serve.openai.logprobs import scored_tokens
from heatbath.serve.openai.outputs import WITHHELD, ChoiceOutput, PromptOutput, usage
from heatbath.serve.openai.policy_input import screen_response
from heatbath.serve.openai.prompt_library import find_response_prompt, prepend_messages
from heatbath.serve.openai.refusals import RESPONSE_REFUSALS
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.responder import Responder
from heatbath.serve.openai.response_chat import build_chat_request, check_response_request, fit_context, response_object
from heatbath.serve.openai.response_items import (
    Item,
    chat_messages,
    read_items,
    resolve_references,
    store_items,
    write_summary,
)
from heatbath.serve.openai.response_output import OutputBuilder
from heatbath.serve.openai.response_stream import ResponseStreamWriter, file_annotations, item_status
from heatbath.serve.openai.schema.chat import ChatRequest, Message
from heatbath.serve.openai.schema.decisions import InputTokensDetails, OutputTokensDetails
from heatbath.serve.openai.schema.response_objects import (
    CompactedResponse,
    CompactionItem,
    CompactRequest,
    IncompleteDetails,
    InputItem,
    ResponseObject,
    ResponseRequest,
    ResponseUsage,
)
from heatbath.serve.openai.sse import Outbox
from heatbath.serve.openai.stored_responses import find_stored_item, keep_for_connection, load_context
from heatbath.serve.openai.tool_calls import ToolCallReader
from heatbath.serve.openai.validation import convert_value

SUMMARY_REQUEST = (
    "Summarize our conversation so far, so that it can be continued from the summary alone. Keep names, numbers, "
    "decisions and open questions."
)
_PARAMS = (
    (re.compile(r"max_completion_tokens"), "max_output_tokens"),
    (re.compile(r"^messages"), "input"),
    (re.compile(r"response_format\.json_schema|response_format"), "text.format"),
    (re.compile(r"(tools\[\d+\])\.function"), r"\1"),
    (re.compile(r"tool_choice\.function(\.name)?"), "tool_choice.name"),
    (re.compile(r"tool_choice\.allowed_tools"), "tool_choice"),
)
"""Fields of a chat, and what a response calls them."""


async def responses(context: RequestContext) -> Any:
    """Respond to items."""
    body = await context.read_body(ResponseRequest, RESPONSE_REFUSALS)
    check_response_request(context, body)
    if body.prompt is not None or (body.thermo is not None and body.thermo.prompt is not None):
        body = find_response_prompt(context, body)
    history = await load_context(context, body.previous_response_id)
    given = read_items(body.input, context.ignored)
    items = await resolve_references(given, history, partial(find_stored_item, context))
    try:
        if context.services.policy is not None:
            body, history, items = await screen_response(context, body, history, items)
        earlier: list[InputItem] = [convert_value(item, InputItem, "previous_response_id") for item in history]
        messages = chat_messages(body.instructions, [*earlier, *items], required=context.prompt is None)
        if context.prompt is not None:
            messages = prepend_messages(
                context.prompt, messages, "input" if body.instructions is None else "instructions"
            )
        conversation = build_chat_request(body, messages)
        if body.truncation == "auto":
            conversation = await context.offload(partial(fit_context, context.language, conversation))
        builder = partial(ResponseResponder, request=body, history=history, items=items)
        return await respond(context, conversation, builder, id_prefix="resp_", settings=body)
    except ApiError as error:
        raise rename_fields(error) from None


async def compact(context: RequestContext) -> Any:
    """Let the model summarize a conversation; the item that is returned can stand in its place."""
    body = await context.read_body(CompactRequest)
    request = ResponseRequest(
        model=body.model, instructions=body.instructions, temperature=0.0, store=False, input=body.input
    )
    history = await load_context(context, body.previous_response_id)
    items = [*(convert_value(item, InputItem, "previous_response_id") for item in history)]
    items += await resolve_references(
        read_items(body.input, context.ignored), history, partial(find_stored_item, context)
    )
    messages = [*chat_messages(body.instructions, items), Message(role="user", content=SUMMARY_REQUEST)]
    builder = partial(CompactResponder, request=request, history=(), items=())
    try:
        conversation = build_chat_request(request, messages)
        return await respond(context, conversation, builder, id_prefix="resp_", settings=request)
    except ApiError as error:
        raise rename_fields(error) from None


def rename_fields(error: ApiError) -> ApiError:
    """Return an error about a field of a chat as one about the field of a response that it was made from."""
    param = error.param or ""
    for pattern, replacement in _PARAMS:
        param = pattern.sub(replacement, param)
    if error.param is None or param == error.param:
        return error
    message = error.message.replace(error.param, param)
    return ApiError(error.status, message, error.type, error.code, param, error.headers)


@dataclass(frozen=True)
class ResponseResponder(Responder[ChatRequest, ResponseObject]):
    """Responds to one request; `history` comes before its own `items`."""

    has_tools: bool = False
    request: ResponseRequest = field(kw_only=True)
    history: Sequence[Item] = field(kw_only=True)
    items: Sequence[InputItem] = field(kw_only=True)

    @cached_property
    def builder(self) -> OutputBuilder:
        """The builder of the output, which a stream has complete before the response is."""
        top = (self.body.top_logprobs or 0) if self.body.logprobs else None
        reader = ToolCallReader() if self.has_tools else None
        return OutputBuilder(self.task.plan.info.id, self.texts, top, reader)

    @cached_property
    def response(self) -> ResponseObject:
        """The response, in progress until there is a choice."""
        return response_object(self.request, self.head, is_stored=self.task.plan.keep_content)

    @cached_property
    def writer(self) -> ResponseStreamWriter:
        """The writer of the events."""
        return ResponseStreamWriter(self.body, self.task, self.head, self.texts, source=self)

    async def stream(self, outbox: Outbox) -> None:
        """Put the response into `outbox` as events; what fails after the first of them is an event too."""
        try:
            await super().stream(outbox)
        except Exception as error:
            if not self.writer.num_events:
                raise
            self.task.end_with(error)
            self.writer.write_failure(outbox, rename_fields(as_api_error(error)))

    def build_choice(self, prompt: int, index: int, output: ChoiceOutput, text: str) -> ResponseObject:
        status = item_status(output)
        if not self.builder.is_complete:
            deque(self.builder.push(text, scored_tokens(output, self.body, self.texts)), maxlen=0)
            deque(self.builder.finish(status, file_annotations(output)), maxlen=0)
        response = self.response
        response.status, response.output, response.usage = status, self.builder.items, self._usage()
        if status == "completed":
            response.completed_at = int(time.time())
        else:
            is_withheld = output.finish == WITHHELD
            response.incomplete_details = IncompleteDetails(WITHHELD if is_withheld else "max_output_tokens")
        for name, value in self.extras(output).items():
            setattr(response, name, value)
        of_prompt = self.task.outputs[prompt]
        is_shown = bool(self.body.return_token_ids) and of_prompt.shows_prompt
        response.prompt_token_ids = list(of_prompt.prompt) if is_shown else UNSET
        response.prompt_logprobs = self.prompt_logprobs(of_prompt)
        return response

    def build_response(
        self, outputs: Sequence[PromptOutput], choices: list[ResponseObject], thermo: dict[str, Any] | UnsetType
    ) -> ResponseObject:
        return self.add_thermo(None if isinstance(thermo, UnsetType) else thermo)

    def add_thermo(self, thermo: Mapping[str, Any] | None) -> ResponseObject:
        """Return the finished response with the figures of the sampler, and whether it is stored."""
        response = self.response
        response.store = self.task.plan.keep_content and self.task.stored is True
        if thermo is not None:
            of_choice = {} if isinstance(response.thermo, UnsetType) else response.thermo
            response.thermo = {**of_choice, **thermo}
        return response

    def build_writer(self) -> ResponseStreamWriter:
        return self.writer

    def stored_content(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        (response,) = choices
        messages = [
            {name: value for name, value in message.items() if value is not None}
            for message in msgspec.to_builtins(self.body.messages)
        ]
        texts = [part["text"] for item in response["output"] for part in item.get("content", ())]
        content = {
            "messages": messages,
            "answers": ["".join(texts)],
            "items": [*self.history, *store_items(self.items, self.task.plan.info.id)],
            "response": response,
            "metadata": self.request.metadata,
        }
        keep_for_connection(self.context, response["id"], content)
        return content

    def _usage(self) -> ResponseUsage:
        total = usage(self.task.outputs)
        return ResponseUsage(
            input_tokens=total.prompt_tokens,
            input_tokens_details=InputTokensDetails(total.prompt_tokens_details.cached_tokens),
            output_tokens=total.completion_tokens,
            output_tokens_details=OutputTokensDetails(),
            total_tokens=total.total_tokens,
        )


@dataclass(frozen=True)
class CompactResponder(ResponseResponder):
    """Responds with the text as the item of a summary."""

    def build_response(
        self, outputs: Sequence[PromptOutput], choices: list[ResponseObject], thermo: dict[str, Any] | UnsetType
    ) -> Any:
        (choice,) = outputs[0].select(1)
        if choice.finish == WITHHELD:
            raise ApiError(400, "the policy of this server denies the summary: send the messages.", code=WITHHELD)
        item = CompactionItem(id=f"cmp_{self.task.plan.info.id}_0", encrypted_content=write_summary(choice.text))
        return CompactedResponse(id=self.head.id, created_at=self.head.created, output=[item], usage=self._usage())
