"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from heatbath.serve.openai import sampling_params
from heatbath.serve.openai.consistency import check_chat_fields
from heatbath.serve.openai.logprobs import chat_logprobs, scored_tokens
from heatbath.serve.openai.outputs import ChoiceOutput, PromptOutput, TokenTexts, finish_reason, usage
from heatbath.serve.openai.policy_input import screen_chat
from heatbath.serve.openai.prompts import chat_prompt
from heatbath.serve.openai.refusals import CHAT_REFUSALS
from heatbath.serve.openai.request_context import RequestContext, request_settings
from heatbath.serve.openai.responder import Responder, build_answer_form, build_head
from heatbath.serve.openai.schema.chat import ChatRequest
from heatbath.serve.openai.schema.response_bodies import ChatChoice, ChatCompletion, ResponseMessage
from heatbath.serve.openai.schema.sampling import GenerationRequest
from heatbath.serve.openai.streaming import ChatStreamWriter
from heatbath.serve.openai.tool_calls import NO_TOOLS, build_toolbox, parse_calls


async def chat(context: RequestContext) -> Any:
    """Respond to a conversation."""
    body = await context.read_body(ChatRequest, CHAT_REFUSALS)
    return await respond(context, body, ChatResponder, id_prefix="chatcmpl-", settings=body)


async def respond(
    context: RequestContext,
    body: ChatRequest,
    build_responder: Callable[..., Responder[ChatRequest, Any]],
    *,
    id_prefix: str,
    settings: GenerationRequest,
) -> Any:
    """Generate from messages; `build_responder` makes the responder that writes it. `settings` are those to report."""
    context.services.model_names.resolve(body.model)
    if body.thermo is not None and body.thermo.prompt is not None and context.prompt is None:
        from heatbath.serve.openai.prompt_library import add_prompt

        body = add_prompt(context, body)
    check_chat_fields(body)
    if context.services.policy is not None:
        body = await screen_chat(context, body)
    toolbox = NO_TOOLS if body.tools is None and body.tool_choice is None else build_toolbox(body)
    prompt = await context.offload(partial(chat_prompt, context.language, body, toolbox.tools))
    if body.thermo is not None and body.thermo.retrieval is not None:
        from heatbath.serve.openai.evidence import search_for_chat

        prompt = await search_for_chat(context, body, prompt, toolbox.tools)
    extent = _extent(context, body, prompt)
    requests = sampling_params.build(context, body, prompts=[prompt], extent=extent, toolbox=toolbox)
    reported = request_settings(settings)
    if context.prompt is not None:
        from heatbath.serve.openai.prompt_library import report_prompt

        reported = report_prompt(reported, context.prompt)
    info = context.request_info(reported, stream=bool(body.stream))
    if context.gate is not None:
        context.gate.form = build_answer_form(body, has_tools=bool(toolbox.tools))
    plan = context.plan(requests, info, n=body.n or 1, store=body.store)
    task = context.admit(plan, len(prompt) + extent.n * extent.max_tokens)
    texts = TokenTexts(context.language, bool(body.return_tokens_as_token_ids))
    head = build_head(context, task, id_prefix)
    responder = build_responder(context, body, task, texts, head, has_tools=bool(toolbox.tools))
    return await context.respond(task, responder.complete, responder.stream if body.stream else None)


def _extent(context: RequestContext, body: ChatRequest, prompt: sampling_params.Tokens) -> sampling_params.Extent:
    limit = context.services.settings.limits.max_tokens
    available = sampling_params.available_tokens(context.language, [prompt], limit, "messages")
    param = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    return sampling_params.Extent(
        max_tokens=sampling_params.resolve_max_tokens(
            getattr(body, param), available, limit, param, context=context.language.context_length
        ),
        n=body.n or 1,
        top=max(body.top_logprobs or 0, body.prompt_logprobs or 0),
        prompt_scores=body.prompt_logprobs is not None,
    )


@dataclass(frozen=True)
class ChatResponder(Responder[ChatRequest, ChatChoice]):
    """Responds to one chat request."""

    has_tools: bool = False

    def build_choice(self, prompt: int, index: int, output: ChoiceOutput, text: str) -> ChatChoice:
        message, reason = ResponseMessage(content=text), finish_reason(output)
        if output.grounding is not None and not self.has_tools:
            message.annotations = output.grounding.url_annotations
        if self.has_tools:
            message, calls_are_complete = parse_calls(text, f"call_{self.task.plan.info.id}_{index}")
            reason = "tool_calls" if calls_are_complete and reason == "stop" else reason
        logprobs = None
        if self.body.logprobs and (output.ruling is None or output.ruling.shows_tokens):
            tokens = scored_tokens(output, self.body, self.texts)
            logprobs = chat_logprobs(tokens, self.texts, self.body.top_logprobs or 0)
        return ChatChoice(index=index, message=message, logprobs=logprobs, finish_reason=reason, **self.extras(output))

    def build_response(
        self, outputs: Sequence[PromptOutput], choices: list[ChatChoice], thermo: dict[str, Any] | UnsetType
    ) -> ChatCompletion:
        (output,) = outputs
        return ChatCompletion(
            id=self.head.id,
            created=self.head.created,
            model=self.head.model,
            system_fingerprint=self.head.fingerprint,
            choices=choices,
            usage=usage(outputs),
            metadata=self.body.metadata or UNSET,
            prompt_token_ids=list(output.prompt) if self.body.return_token_ids and output.shows_prompt else UNSET,
            prompt_logprobs=self.prompt_logprobs(output),
            thermo=thermo,
        )

    def build_writer(self) -> ChatStreamWriter:
        return ChatStreamWriter(self.body, self.task, self.head, self.texts, has_tools=self.has_tools)

    def stored_content(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        answers = []
        for choice in choices:
            answers.append(choice["message"]["content"] or "")
        messages = msgspec.to_builtins(self.body.messages)
        for message in messages:
            for name in tuple(message):
                if message[name] is None:
                    del message[name]
        return {
            "messages": messages,
            "answers": answers,
            "choices": choices,
            "system_fingerprint": self.head.fingerprint,
            "metadata": self.body.metadata,
        }
