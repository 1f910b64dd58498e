"""The input of a request before the engine sees it: refused, changed, or let through with what the policy says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from heatbath.policy.verdict import Scope
from heatbath.serve.errors import ApiError
from heatbath.serve.openai.outputs import WITHHELD
from heatbath.serve.openai.policy_gate import PolicyGate
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.response_items import Item, read_summary, write_summary
from heatbath.serve.openai.schema.chat import ChatRequest, FunctionCall, Message, RefusalPart, TextPart
from heatbath.serve.openai.schema.completions import CompletionRequest, Prompt
from heatbath.serve.openai.schema.response_objects import InputItem, ResponseRequest
from heatbath.serve.openai.validation import convert_value

_PART_TEXTS = ("text", "refusal")


def open_gate(context: RequestContext) -> PolicyGate:
    """Return the gate of a request, which is judged by the policy as it is now."""
    if context.gate is None:
        served = context.services.policy
        assert served is not None
        context.gate = PolicyGate(served, served.current, context.language)
    return context.gate


async def screen_chat(context: RequestContext, body: ChatRequest) -> ChatRequest:
    """Return a chat request with the messages to use.

    Raises:
        ApiError: 400 with the code content_filter, the policy denies one.
    """
    gate = open_gate(context)
    if gate.has_screened_input:
        return body
    numbered = enumerate(body.messages)
    messages = await asyncio.gather(*[_screen_message(gate, each, f"messages[{i}]") for i, each in numbered])
    return msgspec.structs.replace(body, messages=list(messages))


async def _screen_message(gate: PolicyGate, message: Message, place: str) -> Message:
    changes: dict[str, Any] = {}
    if message.content:
        changes["content"] = await _screen_parts(gate, message.content, f"{place}.content")
    if message.refusal:
        changes["refusal"] = await screen_text(gate, message.refusal, f"{place}.refusal")
    if message.tool_calls:
        calls = []
        for call in message.tool_calls:
            function = await _screen_call(gate, call.function, f"{place}.tool_calls")
            calls.append(msgspec.structs.replace(call, function=function))
        changes["tool_calls"] = calls
    if message.function_call is not None:
        changes["function_call"] = await _screen_call(gate, message.function_call, f"{place}.function_call")
    return msgspec.structs.replace(message, **changes)


async def _screen_call(gate: PolicyGate, call: FunctionCall, place: str) -> FunctionCall:
    return FunctionCall(name=call.name, arguments=await screen_text(gate, call.arguments, f"{place}.arguments"))


async def _screen_parts(
    gate: PolicyGate, content: str | list[TextPart | RefusalPart], place: str
) -> str | list[TextPart | RefusalPart]:
    """Screen a content as the one text that the model reads; a changed one is one text."""
    text = content
    if not isinstance(text, str):
        text = "".join([part.text if isinstance(part, TextPart) else part.refusal for part in text])
    screened = await screen_text(gate, text, place)
    return content if screened == text else screened


async def screen_prompts(context: RequestContext, body: CompletionRequest) -> CompletionRequest:
    """Return a completions request with the prompts to use. Raises `ApiError` as `screen_chat` does."""
    gate, language = open_gate(context), context.language

    async def screen(prompt: Any, place: str) -> Any:
        text = prompt if isinstance(prompt, str) else language.decode(prompt)
        screened = await screen_text(gate, text, place)
        if screened == text:
            return prompt
        return screened if isinstance(prompt, str) else list(language.encode(screened))

    prompt: Any = body.prompt
    if isinstance(prompt, str) or not prompt or isinstance(prompt[0], int):
        changed = await screen(prompt, "prompt") if prompt else prompt
    else:
        changed = list(await asyncio.gather(*[screen(each, f"prompt[{i}]") for i, each in enumerate(prompt)]))
    return msgspec.structs.replace(body, prompt=cast(Prompt, changed))


async def screen_response(
    context: RequestContext, body: ResponseRequest, history: Sequence[Item], items: Sequence[InputItem]
) -> tuple[ResponseRequest, list[Item], list[InputItem]]:
    """Return a request for a response, the items before it and its own, as they are to be used and stored.

    Raises:
        ApiError: 400 with the code content_filter, the policy denies one.
    """
    gate = open_gate(context)
    # The messages of a prompt are put before these later, so that the whole conversation is judged then.
    gate.has_screened_input = context.prompt is None
    if body.instructions:
        instructions = await screen_text(gate, body.instructions, "instructions")
        body = msgspec.structs.replace(body, instructions=instructions)
    before = await asyncio.gather(*[_screen_item(gate, item, "previous_response_id") for item in history])
    given = enumerate(map(msgspec.to_builtins, items))
    screened = await asyncio.gather(*[_screen_item(gate, item, f"input[{i}]") for i, item in given])
    return body, list(before), [convert_value(item, InputItem, "input") for item in screened]


async def _screen_item(gate: PolicyGate, item: Item, place: str) -> Item:
    changed = dict(item)
    for name in ("content", "output"):
        if item.get(name):
            changed[name] = await _screen_content(gate, item[name], f"{place}.{name}")
    if isinstance(item.get("arguments"), str):
        changed["arguments"] = await screen_text(gate, item["arguments"], f"{place}.arguments")
    if item.get("type") == "compaction":
        field = f"{place}.encrypted_content"
        summary = read_summary(item["encrypted_content"], field)
        changed["encrypted_content"] = write_summary(await screen_text(gate, summary, field))
    return changed


async def _screen_content(gate: PolicyGate, content: Any, place: str) -> Any:
    """Screen a text or a list of parts as the one text that the model reads; changed parts become the first of them."""
    if isinstance(content, str):
        return await screen_text(gate, content, place)
    texts = [(part, name) for part in content for name in _PART_TEXTS if isinstance(part.get(name), str)]
    text = "".join([part[name] for part, name in texts])
    screened = await screen_text(gate, text, place)
    if screened == text:
        return content
    first, name = texts[0]
    return [{**first, name: screened}]


async def screen_passages(gate: PolicyGate, passages: Sequence[str]) -> list[str | None]:
    """Return retrieved texts as they are to be used, None for each that the policy denies."""
    verdicts = await asyncio.gather(*[gate.judge_text(text, "retrieved") for text in passages])
    found: list[str | None] = []
    for text, verdict in zip(passages, verdicts, strict=True):
        gate.input = gate.input.add(verdict, is_changed=verdict.text != text)
        found.append(None if verdict.action == "deny" else verdict.text)
    return found


async def screen_text(gate: PolicyGate, text: str, place: str, scope: Scope = "input") -> str:
    """Return a text of the input as it is to be used.

    Raises:
        ApiError: 400 with the code content_filter, the policy denies it.
    """
    verdict = await gate.judge_text(text, scope)
    if verdict.action == "deny":
        raise ApiError(400, f"{place} is denied by the policy of this server: change it.", code=WITHHELD, param=place)
    gate.input = gate.input.add(verdict, is_changed=verdict.text != text)
    return verdict.text
