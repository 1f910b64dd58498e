"""POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from heatbath.engine.base import Request
from heatbath.serve.api import refusing
from heatbath.serve.api.answering import (
    EMPTY,
    choice_thermo,
    drawn,
    finish_of,
    head_of,
    headers_of,
    held,
    merged,
    stop_reason,
    tail,
    token_ids,
    usage_of,
    whole_thermo,
)
from heatbath.serve.api.call import Call, order_of
from heatbath.serve.api.calls import Called, Calls, Given, Said
from heatbath.serve.api.chat_stream import ChatStream
from heatbath.serve.api.chunks import DONE, Head, stored_line
from heatbath.serve.api.drawing import drawing
from heatbath.serve.api.exchange import Exchange
from heatbath.serve.api.gathered import Answer, Gathered
from heatbath.serve.api.logprobs import Speller, chat_logprobs, prompt_logprobs
from heatbath.serve.api.prompts import aside, chat_prompt
from heatbath.serve.api.responding import respond
from heatbath.serve.api.room import allowed, room
from heatbath.serve.api.schema.answers import AnswerMessage, ChatChoice, ChatCompletion, GivenCall, GivenFunction
from heatbath.serve.api.schema.chat import ChatRequest
from heatbath.serve.api.sse import Outbox
from heatbath.serve.api.structure import forms
from heatbath.serve.api.thermo import steering
from heatbath.serve.api.toolbox import Toolbox, toolbox
from heatbath.serve.errors import invalid_value


@dataclass(frozen=True)
class Chat:
    """A chat request on its way."""

    call: Call
    asked: ChatRequest
    box: Toolbox
    exchange: Exchange
    spell: Speller
    head: Head

    def given(self, gathered: Gathered) -> list[Answer]:
        """The answers to give."""
        chosen = [gathered.answers[i] for i in gathered.chosen(self.exchange.order.n)]
        return chosen or [EMPTY] * self.exchange.order.n

    async def whole(self) -> Response:
        """The answer in one piece."""
        (gathered,) = await drawn(self.exchange, self.asked)
        given = self.given(gathered)
        choices = [self.choice(i, answer) for i, answer in enumerate(given)]
        stored = await self.exchange.settle(given, self.content(choices))
        return self.call.answer(self.body(gathered, choices, stored), headers_of(self.exchange, stored))

    async def stream(self, outbox: Outbox) -> None:
        """The answer piece by piece."""
        stream = ChatStream(self.call, self.asked, self.box, self.exchange, (self.head, self.spell))
        if held(self.asked):
            (gathered,) = await drawn(self.exchange, self.asked)
            given = self.given(gathered)
            outbox.put(stream.replayed(given))
        else:
            (gathered,) = await drawn(self.exchange, self.asked, partial(stream.take, outbox))
            given = self.given(gathered)
            outbox.put(stream.ended(given))
        choices = [self.choice(i, answer) for i, answer in enumerate(given)]
        stored = await self.exchange.settle(given, self.content(choices))
        thermo = whole_thermo(self.asked, [gathered], stored)
        outbox.put(stream.chunks.closing(thermo or None) + stored_line(stored) + DONE)

    def body(self, gathered: Gathered, choices: list[ChatChoice], stored: bool | None) -> ChatCompletion:
        """The whole answer."""
        asked, began = self.asked, gathered.began
        scores = began.scored_prompt if began else ()
        return ChatCompletion(
            id=self.head.id,
            created=self.head.created,
            model=self.head.model,
            system_fingerprint=self.head.fingerprint,
            choices=choices,
            usage=usage_of([gathered]),
            metadata=asked.metadata or UNSET,
            prompt_token_ids=list(gathered.prompt) if asked.return_token_ids else UNSET,
            prompt_logprobs=UNSET
            if asked.prompt_logprobs is None
            else prompt_logprobs(scores, self.spell, asked.prompt_logprobs),
            thermo=whole_thermo(asked, [gathered], stored),
        )

    def choice(self, index: int, answer: Answer) -> ChatChoice:
        """One choice."""
        text = answer.text + tail(answer, self.asked, self.spell)
        message, finish = AnswerMessage(content=text), finish_of(answer)
        if self.box.tools:
            message = _called(text, f"call_{self.exchange.order.ticket.id}_{index}")
            finish = "tool_calls" if message.tool_calls and finish == "stop" else finish
        logprobs = (
            chat_logprobs(answer.spoken, self.spell, self.asked.top_logprobs or 0) if self.asked.logprobs else None
        )
        return ChatChoice(
            index=index,
            message=message,
            logprobs=logprobs,
            finish_reason=finish,
            stop_reason=stop_reason(answer, self.asked),
            token_ids=token_ids(answer, self.asked),
            thermo=choice_thermo(answer, self.asked, self.call, self.spell),
        )

    def content(self, choices: Sequence[ChatChoice]) -> dict[str, Any]:
        """What is kept of messages and answers."""
        plain: list[Any] = msgspec.to_builtins(choices)
        for choice in plain:
            choice.pop("thermo", None)
        messages = [
            {name: value for name, value in message.items() if value is not None}
            for message in msgspec.to_builtins(self.asked.messages)
        ]
        return {
            "messages": messages,
            "answers": [choice["message"]["content"] or "" for choice in plain],
            "choices": plain,
            "system_fingerprint": self.head.fingerprint,
            "metadata": self.asked.metadata,
        }


async def chat(call: Call) -> Any:
    """Answer a conversation."""
    asked = await call.body(ChatRequest, refusing.CHAT)
    call.services.model_names.resolve(asked.model)
    _check(asked)
    box = toolbox(asked)
    letters = len(await call.request.body())
    prompt = await aside(partial(chat_prompt, call.language, asked, box.tools), letters)
    request = _request(call, asked, box, prompt)
    exchange = call.take(order_of(call, asked, [request]), len(prompt) + request.n * request.max_tokens)
    spell = Speller(call.language, bool(asked.return_tokens_as_token_ids))
    job = Chat(call, asked, box, exchange, spell, head_of(call, exchange, "chatcmpl-"))
    return await respond(call, exchange, job.stream if asked.stream else None, job.whole)


def _check(asked: ChatRequest) -> None:
    if asked.top_logprobs and not asked.logprobs:
        raise invalid_value("top_logprobs is set and logprobs is not: set logprobs to true.", "top_logprobs")
    if asked.prompt_logprobs is not None and asked.stream:
        raise invalid_value("prompt_logprobs is not served in streams: leave out stream.", "prompt_logprobs")


def _request(call: Call, asked: ChatRequest, box: Toolbox, prompt: tuple[int, ...]) -> Request:
    settings = call.services.settings
    limit = settings.limits.max_tokens
    most = room(call.language, [prompt], limit, "messages")
    name = "max_tokens" if asked.max_completion_tokens is None else "max_completion_tokens"
    max_tokens = allowed(getattr(asked, name), most, limit, name)
    found = drawing(asked, call.language, settings.limits.max_n)
    form = next(iter(forms(asked)), None)
    grammar = box.grammar(form[1] if form else None)
    if grammar is not None:
        found["fields"] = (*(field for field in found["fields"] if form is None or field != form[1]), grammar)
    return Request(
        prompt,
        f"{call.request.state.id}/0",
        call.tenant.name,
        max_tokens=max_tokens,
        top_logprobs=max(asked.top_logprobs or 0, asked.prompt_logprobs or 0),
        score_prompt=asked.prompt_logprobs is not None,
        deadline=settings.engine.deadline_seconds,
        **merged(found, steering(asked.thermo)),
    )


def _called(text: str, prefix: str) -> AnswerMessage:
    """The message of a text that may hold calls."""
    reader = Calls()
    said: list[str] = []
    calls: list[GivenCall] = []
    for part in [*reader.read(text), *reader.rest()]:
        if isinstance(part, Said):
            said.append(part.text)
        elif isinstance(part, Called):
            calls.append(GivenCall(id=f"{prefix}_{part.index}", function=GivenFunction(part.name, "")))
        elif isinstance(part, Given):
            calls[part.index].function.arguments += part.text
    content = "".join(said)
    return AnswerMessage(content=content or (None if calls else ""), tool_calls=calls or UNSET)
