"""POST /v1/decisions: what the model holds for true, as probabilities of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import Any

import msgspec
from starlette.responses import Response

from heatbath.engine.base import ModelInfo, Request
from heatbath.serve.api.answering import headers_of
from heatbath.serve.api.call import Call
from heatbath.serve.api.exchange import Exchange, Order
from heatbath.serve.api.gathered import Gathered
from heatbath.serve.api.labels import exclusive, odds
from heatbath.serve.api.prompts import aside
from heatbath.serve.api.questions import Put, prompt, put, told
from heatbath.serve.api.responding import respond
from heatbath.serve.api.room import room
from heatbath.serve.api.schema import decisions as schema
from heatbath.serve.errors import invalid_value

MOST_LABELS = 2048

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Asking:
    """A question as tokens: the prompt, and its labels' own."""

    put: Put
    prompt: Tokens
    labels: tuple[Tokens, ...]


@dataclass(frozen=True)
class Decisions:
    """A request for decisions on its way."""

    call: Call
    asked: schema.DecisionRequest
    asking: Sequence[Asking]
    exchange: Exchange

    async def whole(self) -> Response:
        """All answers, in the order of the questions."""
        every = await self.exchange.run()
        starts = list(accumulate((len(each.labels) for each in self.asking), initial=0))
        answers = [
            _answer(question, asking, every[low:high])
            for question, asking, (low, high) in zip(self.asked.questions, self.asking, pairwise(starts), strict=True)
        ]
        kept = {"input": msgspec.to_builtins(self.asked.input), "questions": msgspec.to_builtins(self.asked.questions)}
        stored = await self.exchange.settle([], {**kept, "answers": msgspec.to_builtins(answers)})
        ticket = self.exchange.order.ticket
        body = schema.Decision(
            id=f"dec-{ticket.id}",
            created=int(ticket.created_at),
            model=ticket.model,
            answers=answers,
            usage=_usage(every),
        )
        return self.call.answer(body, headers_of(self.exchange, stored))


async def decisions(call: Call) -> Any:
    """Answer questions about an input."""
    asked = await call.body(schema.DecisionRequest)
    call.services.model_names.resolve(asked.model)
    letters = len(await call.request.body())
    asking = await aside(partial(_asking, call.language, asked), letters)
    _check(call, asking)
    requests = [request for i, each in enumerate(asking) for request in _requests(call, each, i)]
    settings = call.services.settings.storage
    order = Order(
        call.ticket(call.services.model_names.model, False, {"questions": len(asking)}),
        requests,
        content=settings.content and asked.store is not False,
        must=bool(asked.store) or settings.required,
    )
    exchange = call.take(order, sum(len(request.prompt) for request in requests))
    return await respond(call, exchange, None, Decisions(call, asked, asking, exchange).whole)


def _asking(language: ModelInfo, asked: schema.DecisionRequest) -> list[Asking]:
    text = told(asked.input)
    questions = [put(question, text, f"questions[{i}]") for i, question in enumerate(asked.questions)]
    return [
        Asking(each, prompt(language, each.text), tuple(tuple(language.encode(label)) for label in each.labels))
        for each in questions
    ]


def _check(call: Call, asking: Sequence[Asking]) -> None:
    labels = sum(len(each.labels) for each in asking)
    if labels > MOST_LABELS:
        raise invalid_value(f"questions have {labels} labels in all: give at most {MOST_LABELS}.", "questions")
    limit = call.services.settings.limits.max_tokens
    for each in asking:
        room(call.language, [(*each.prompt, *label) for label in each.labels], limit, "input")


def _requests(call: Call, asking: Asking, number: int) -> list[Request]:
    """One for each label, whose tokens are scored as the end of the prompt."""
    seconds = call.services.settings.engine.deadline_seconds
    return [
        Request(
            (*asking.prompt, *label),
            f"{call.request.state.id}/{number}.{i}",
            call.tenant.name,
            max_tokens=0,
            record=None,
            score_prompt=True,
            deadline=seconds,
        )
        for i, label in enumerate(asking.labels)
    ]


def _answer(question: schema.Question, asking: Asking, scored: Sequence[Gathered]) -> schema.Answer:
    logprobs = [_logprob(label, each) for label, each in zip(asking.labels, scored, strict=True)]
    found = odds(exclusive(asking.labels, logprobs))
    if found is None:
        return schema.RefusalAnswer(name=question.name)
    probabilities, mass = found
    diagnostics = schema.Diagnostics(mass)
    if isinstance(question, schema.Predicate):
        return schema.PredicateAnswer(name=question.name, probability=probabilities[0], diagnostics=diagnostics)
    if isinstance(question, schema.Choice):
        weighed = [schema.Weighed(*pair) for pair in zip(_values(question), probabilities, strict=True)]
        best = max(weighed, key=lambda each: each.probability)
        return schema.ChoiceAnswer(
            name=question.name,
            choice=best.value,
            probabilities=weighed,
            confidence=best.probability,
            diagnostics=diagnostics,
        )
    names = [level.label for level in question.levels]
    levels = [schema.WeighedLevel(i, *pair) for i, pair in enumerate(zip(names, probabilities, strict=True))]
    return schema.ScoreAnswer(
        name=question.name,
        score=math.fsum(level.value * level.probability for level in levels),
        probabilities=levels,
        confidence=max(probabilities),
        diagnostics=diagnostics,
    )


def _values(question: schema.Choice) -> list[str | bool]:
    return [option.value for option in question.choices]


def _logprob(label: Tokens, scored: Gathered) -> float:
    """log p of the label's tokens after the prompt, in the model at T = 1."""
    tokens = scored.began.scored_prompt if scored.began else ()
    return math.fsum(-math.inf if token.logprob is None else token.logprob for token in tokens[-len(label) :])


def _usage(every: Sequence[Gathered]) -> schema.DecisionUsage:
    tokens, cached = sum(len(each.prompt) for each in every), sum(each.cached for each in every)
    details = schema.InputDetails(cached)
    return schema.DecisionUsage(
        input_tokens=tokens,
        input_tokens_details=details,
        output_tokens_details=schema.OutputDetails(),
        total_tokens=tokens,
    )
