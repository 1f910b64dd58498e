"""POST /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from heatbath.engine.base import Request, Token
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
from heatbath.serve.api.chunks import DONE, Head, stored_line
from heatbath.serve.api.completion_stream import CompletionStream
from heatbath.serve.api.drawing import drawing
from heatbath.serve.api.exchange import Exchange
from heatbath.serve.api.gathered import Answer, Gathered
from heatbath.serve.api.logprobs import Legacy, Speller, prompt_logprobs
from heatbath.serve.api.prompts import Tokens, aside, completion_prompts
from heatbath.serve.api.responding import respond
from heatbath.serve.api.room import allowed, room
from heatbath.serve.api.schema.answers import Completion, CompletionChoice, LegacyLogprobs
from heatbath.serve.api.schema.completions import CompletionRequest
from heatbath.serve.api.sse import Outbox
from heatbath.serve.api.thermo import steering
from heatbath.serve.errors import invalid_value

TOKENS = 16
"""Tokens of an answer where nothing is asked for, as OpenAI has it."""


@dataclass(frozen=True)
class Completions:
    """A completions request on its way; `shown` are the texts of the prompts, for those who want them repeated."""

    call: Call
    asked: CompletionRequest
    exchange: Exchange
    spell: Speller
    head: Head
    shown: Sequence[str]

    def given(self, gathered: Gathered) -> list[Answer]:
        """The answers to give to one prompt."""
        n = self.exchange.order.n
        chosen = gathered.chosen(n, by_likelihood=(self.asked.best_of or 0) > n)
        return [gathered.answers[i] for i in chosen] or [EMPTY] * n

    async def whole(self) -> Response:
        """The answer in one piece."""
        every = await drawn(self.exchange, self.asked)
        given = [self.given(gathered) for gathered in every]
        choices = self.choices(given)
        stored = await self.exchange.settle([*chain(*given)], self.content(choices))
        body = Completion(
            id=self.head.id,
            created=self.head.created,
            model=self.head.model,
            system_fingerprint=self.head.fingerprint,
            choices=choices,
            usage=usage_of(every),
            thermo=whole_thermo(self.asked, every, stored),
        )
        return self.call.answer(body, headers_of(self.exchange, stored))

    async def stream(self, outbox: Outbox) -> None:
        """The answer piece by piece."""
        stream = CompletionStream(self.call, self.asked, self.exchange, (self.head, self.spell), self.shown)
        every = await drawn(self.exchange, self.asked, None if held(self.asked) else partial(stream.take, outbox))
        given = [self.given(gathered) for gathered in every]
        for i, answers in enumerate(given):
            outbox.put(stream.replayed(i, answers) if held(self.asked) else stream.ended(i, answers))
        stored = await self.exchange.settle([*chain(*given)], self.content(self.choices(given)))
        thermo = whole_thermo(self.asked, every, stored)
        outbox.put(stream.chunks.closing(thermo or None) + stored_line(stored) + DONE)

    def choices(self, given: Sequence[Sequence[Answer]]) -> list[CompletionChoice]:
        """All choices; those of prompt i begin at i times n."""
        n = self.exchange.order.n
        return [
            self.choice(i, i * n + k, answer) for i, answers in enumerate(given) for k, answer in enumerate(answers)
        ]

    def choice(self, prompt: int, index: int, answer: Answer) -> CompletionChoice:
        """One choice."""
        asked, gathered = self.asked, self.exchange.gathered[prompt]
        scores = gathered.began.scored_prompt if gathered.began else ()
        echoed = self.shown[prompt] if asked.echo else ""
        return CompletionChoice(
            index=index,
            text=echoed + answer.text + tail(answer, asked, self.spell),
            logprobs=self.logprobs([*(scores if asked.echo else ()), *answer.tokens]),
            finish_reason=finish_of(answer),
            stop_reason=stop_reason(answer, asked),
            token_ids=token_ids(answer, asked),
            prompt_token_ids=list(gathered.prompt) if asked.return_token_ids else UNSET,
            prompt_logprobs=UNSET
            if asked.prompt_logprobs is None
            else prompt_logprobs(scores, self.spell, asked.prompt_logprobs),
            thermo=choice_thermo(answer, asked, self.call, self.spell),
        )

    def logprobs(self, tokens: Sequence[Token]) -> LegacyLogprobs | None:
        """The arrays of a choice, if asked for."""
        return None if self.asked.logprobs is None else Legacy(self.spell, self.asked.logprobs)(tokens)

    def content(self, choices: Sequence[CompletionChoice]) -> dict[str, Any]:
        """What is kept of prompts and answers."""
        plain: list[Any] = msgspec.to_builtins(choices)
        for choice in plain:
            choice.pop("thermo", None)
        texts = [choice["text"] for choice in plain]
        return {"prompt": list(self.shown), "answers": texts, "choices": plain}


async def completions(call: Call) -> Any:
    """Continue prompts."""
    asked = await call.body(CompletionRequest, refusing.COMPLETIONS)
    call.services.model_names.resolve(asked.model)
    _check(asked)
    letters = len(await call.request.body())
    prompts = await aside(partial(completion_prompts, call.language, asked.prompt), letters)
    requests = _requests(call, asked, prompts)
    tokens = sum(len(request.prompt) + request.n * request.max_tokens for request in requests)
    exchange = call.take(order_of(call, asked, requests), tokens)
    spell = Speller(call.language, bool(asked.return_tokens_as_token_ids))
    shown = _shown(call, asked, prompts)
    job = Completions(call, asked, exchange, spell, head_of(call, exchange, "cmpl-"), shown)
    return await respond(call, exchange, job.stream if asked.stream else None, job.whole)


def _shown(call: Call, asked: CompletionRequest, prompts: Sequence[Tokens]) -> list[str]:
    """The texts of prompts: as they were given, or of the tokens that were."""
    if isinstance(asked.prompt, str):
        return [asked.prompt]
    if asked.prompt and isinstance(asked.prompt[0], str):
        return [str(text) for text in asked.prompt]
    return [call.language.decode(prompt) for prompt in prompts]


def _check(asked: CompletionRequest) -> None:
    n, best_of = asked.n or 1, asked.best_of
    if best_of and best_of < n:
        raise invalid_value(f"best_of is {best_of} and n is {n}: give at least as many.", "best_of")
    if best_of and best_of > n and asked.stream:
        raise invalid_value("best_of cannot be streamed, the best is known at the end: leave out stream.", "best_of")
    if best_of and best_of > n and held(asked):
        raise invalid_value("best_of chooses among plain draws: leave it or thermo.sampler out.", "best_of")
    if asked.prompt_logprobs is not None and asked.stream:
        raise invalid_value("prompt_logprobs is not served in streams: leave out stream.", "prompt_logprobs")


def _requests(call: Call, asked: CompletionRequest, prompts: Sequence[Tokens]) -> list[Request]:
    settings = call.services.settings
    limit = settings.limits.max_tokens
    # A prompt of no tokens stands for the document start, which takes room too.
    sizes = [prompt or call.language.vocabulary.start_token_ids for prompt in prompts]
    most = room(call.language, sizes, limit, "prompt")
    max_tokens = allowed(asked.max_tokens, most, limit, "max_tokens", TOKENS)
    found = merged(drawing(asked, call.language, settings.limits.max_n), steering(asked.thermo))
    found["n"] = max(found["n"], asked.best_of or 0)
    if found["n"] > settings.limits.max_n:
        raise invalid_value(
            f"best_of is {asked.best_of}: this server draws at most {settings.limits.max_n}.", "best_of"
        )
    common = {
        "max_tokens": max_tokens,
        "top": max(asked.logprobs or 0, asked.prompt_logprobs or 0),
        "prompt_scores": asked.prompt_logprobs is not None or bool(asked.echo and asked.logprobs is not None),
        "deadline": settings.engine.deadline_seconds,
        **found,
    }
    return [
        Request(prompt, f"{call.request.state.id}/{i}", call.tenant.name, **common) for i, prompt in enumerate(prompts)
    ]
