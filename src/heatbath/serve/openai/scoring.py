r"""POST /v1/score and /v1/rerank: the log-probability that the model gives to one text after another.

The score of a pair is $\log p(b \mid a) = \sum_i \log p(b_i \mid a, b_{<i})$ at T = 1, with the tokens of both texts
encoded one by one. The relevance of a document is that of the query after the document and a line break: the query
likelihood, which does not depend on the length of the document as the log-probability of the document would.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from heatbath.engine.base import ModelInfo, Request
from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.generation import GenerationTask
from heatbath.serve.openai.outputs import PromptOutput, usage
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.responder import response_headers
from heatbath.serve.openai.sampling_params import available_tokens
from heatbath.serve.openai.schema import scoring as schema

Tokens = tuple[int, ...]

SEPARATOR = "\n"
"""The text between a document and the query."""
IMPOSSIBLE = -sys.float_info.max
"""Stands for minus infinity, which JSON does not have: below every other score."""
_REFUSALS = {
    "truncate_prompt_tokens": (bool, "truncates documents only, to max_tokens_per_doc"),
    "max_chunks_per_doc": (bool, "scores whole documents; truncate them with max_tokens_per_doc"),
    "rank_fields": (lambda value: value not in ([], ["text"]), "reads the field text of a document only"),
}
_COHERE_META = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}


@dataclass(frozen=True)
class TokenPair:
    """A text as tokens, and those that are scored after it; `place` is the parameter with the first."""

    given: Tokens
    scored: Tokens
    place: str


@dataclass(frozen=True)
class PairScore:
    """The log-probability (nats, T = 1) of the scored tokens of a pair, and their number."""

    logprob: float
    num_tokens: int

    def value(self, options: schema.ScoreOptions) -> float:
        """Return the score in the unit asked for, per token if so."""
        value = self.logprob / math.log(2) if options.unit == "bits" else self.logprob
        return finite_score(value / self.num_tokens if options.per_token else value)

    def details(self, **more: float) -> schema.ScoreThermo:
        """Return what a score is made from."""
        bits = finite_score(self.logprob / math.log(2))
        return schema.ScoreThermo(logprob=finite_score(self.logprob), bits=bits, tokens=self.num_tokens, **more)


async def score(context: RequestContext) -> Any:
    """Score pairs of texts."""
    body = await context.read_body(schema.ScoreRequest, _REFUSALS)
    pairs = await context.offload(partial(_tokenize_texts, context.language, body))
    return await _respond(context, body, pairs, partial(_score_list, body))


async def rerank(context: RequestContext) -> Any:
    """Rank documents by the query likelihood."""
    body = await context.read_body(schema.RerankRequest, _REFUSALS)
    pairs = await context.offload(partial(_tokenize_documents, context.language, body))
    return await _respond(context, body, pairs, partial(_ranking, body))


def scoring_request(context: RequestContext, tokens: Tokens, name: str, *, priority: int = 0) -> Request:
    """Return a request that draws nothing and scores its prompt."""
    return Request(
        tokens,
        f"{context.id}/{name}",
        context.tenant.name,
        max_tokens=0,
        record=None,
        score_prompt=True,
        priority=priority,
        deadline=context.services.settings.engine.deadline_seconds,
    )


def continuation_logprob(output: PromptOutput, num_tokens: int) -> float:
    """Return log p, in nats at T = 1, of the last tokens of a scored prompt after those before them."""
    tokens = output.began.scored_prompt if output.began else ()
    last = tokens[len(tokens) - num_tokens :]
    return math.fsum(-math.inf if token.logprob is None else token.logprob for token in last)


def finite_score(value: float) -> float:
    """Return a score that JSON can hold."""
    return max(value, IMPOSSIBLE)


def _tokenize_texts(language: ModelInfo, body: schema.ScoreRequest) -> list[TokenPair]:
    first, first_name = _choose_texts(body, "text_1", "queries")
    second, second_name = _choose_texts(body, "text_2", "documents")
    if len(first) == 1:
        first = first * len(second)
    if len(first) != len(second):
        sizes = f"{first_name} holds {len(first)} texts and {second_name} {len(second)}"
        raise invalid_value(f"{sizes}: give one with several, or as many of both.", second_name)
    pairs = []
    for i, (given, text) in enumerate(zip(first, second, strict=True)):
        scored = tuple(language.encode(text, document_start=False))
        if body.thermo and body.thermo.per_token and not scored:
            place = f"{second_name}[{i}]"
            raise invalid_value(f"{place} has no tokens to divide by: give a text, or leave per_token out.", place)
        pairs.append(TokenPair(_encode_given(language, given, first_name), scored, first_name))
    return pairs


def _choose_texts(body: schema.ScoreRequest, name: str, newer: str) -> tuple[list[str], str]:
    """Return the texts of one side, and the name that the request gives it."""
    given = [each for each in (name, newer) if getattr(body, each) is not None]
    if not given:
        raise invalid_value(f"{name} is missing: give a text or several.", name, "missing_required_parameter")
    if len(given) > 1:
        raise invalid_value(f"{newer} is another name of {name}: give one of them.", newer)
    texts = getattr(body, given[0])
    return [texts] if isinstance(texts, str) else list(texts), given[0]


def _encode_given(language: ModelInfo, text: str, place: str) -> Tokens:
    """Return the tokens of the first text of a pair; an empty one stands for the document start."""
    tokens = tuple(language.encode(text)) if text else language.vocabulary.start_token_ids
    if not tokens:
        raise invalid_value(f"{place} is empty and {language.name} has no start token: give a text.", place)
    return tokens


def _tokenize_documents(language: ModelInfo, body: schema.RerankRequest) -> list[TokenPair]:
    query = tuple(language.encode(body.query, document_start=False))
    pairs = []
    for i, text in enumerate(_document_texts(body)):
        document = tuple(language.encode(text))[: body.max_tokens_per_doc]
        separator = language.encode(SEPARATOR, document_start=not document)
        pairs.append(TokenPair((*document, *separator), query, f"documents[{i}]"))
    return pairs


def _document_texts(body: schema.RerankRequest) -> list[str]:
    return [each if isinstance(each, str) else each.text for each in body.documents]


BuildBody = Callable[[GenerationTask, Sequence[PairScore]], schema.ScoreList | schema.Ranking]


async def _respond(
    context: RequestContext,
    body: schema.ScoreRequest | schema.RerankRequest,
    pairs: Sequence[TokenPair],
    build_body: BuildBody,
) -> Any:
    """Score pairs in the engine, store the scores, and respond."""
    if body.model is not None:
        context.services.model_names.resolve(body.model)
    limit = context.services.settings.limits.max_tokens
    for pair in pairs:
        available_tokens(context.language, [(*pair.given, *pair.scored)], limit, pair.place)
    requests = [
        scoring_request(context, (*pair.given, *pair.scored), str(i), priority=body.priority or 0)
        for i, pair in enumerate(pairs)
    ]
    settings = {"pairs": len(pairs), **_settings(body.thermo)}
    plan = context.plan(requests, context.request_info(settings))
    task = context.admit(plan, sum(len(request.prompt) for request in requests))
    return await context.respond(task, partial(_complete, context, body, (task, pairs), build_body))


def _settings(options: schema.ScoreOptions | None) -> dict[str, Any]:
    return {} if options is None else {"thermo": msgspec.to_builtins(options)}


async def _complete(
    context: RequestContext,
    body: schema.ScoreRequest | schema.RerankRequest,
    work: tuple[GenerationTask, Sequence[TokenPair]],
    build_body: BuildBody,
) -> Response:
    task, pairs = work
    outputs = await task.run()
    scores = [
        PairScore(continuation_logprob(output, len(pair.scored)), len(pair.scored))
        for pair, output in zip(pairs, outputs, strict=True)
    ]
    response = build_body(task, scores)
    stored = await task.settle([], _stored_content(body, response))
    return context.json_response(response, response_headers(task, stored))


def _stored_content(body: msgspec.Struct, response: msgspec.Struct) -> Mapping[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins({"request": body, "response": response})
    return content


def _score_list(body: schema.ScoreRequest, task: GenerationTask, scores: Sequence[PairScore]) -> schema.ScoreList:
    info, options = task.plan.info, body.thermo or schema.ScoreOptions()
    data = [
        schema.ScoreItem(index=i, score=each.value(options), thermo=each.details() if body.thermo else UNSET)
        for i, each in enumerate(scores)
    ]
    created = int(info.created_at)
    return schema.ScoreList(
        id=f"score-{info.id}", created=created, model=info.model, data=data, usage=usage(task.outputs)
    )


def _ranking(body: schema.RerankRequest, task: GenerationTask, scores: Sequence[PairScore]) -> schema.Ranking:
    info, options, texts = task.plan.info, body.thermo or schema.ScoreOptions(), _document_texts(body)
    order = sorted(range(len(scores)), key=lambda i: -scores[i].logprob)[: body.top_n or len(scores)]
    posteriors = posterior_probabilities([each.logprob for each in scores]) if body.thermo else []
    results = []
    for i in order:
        details: schema.ScoreThermo | UnsetType = UNSET
        if body.thermo:
            details = scores[i].details(**({"posterior": posteriors[i]} if posteriors else {}))
        document = UNSET if body.return_documents is False else schema.DocumentText(texts[i])
        value = scores[i].value(options)
        results.append(schema.RankedDocument(index=i, relevance_score=value, document=document, thermo=details))
    return schema.Ranking(
        id=f"rerank-{info.id}", model=info.model, results=results, usage=usage(task.outputs), meta=_COHERE_META
    )


def posterior_probabilities(logprobs: Sequence[float]) -> list[float]:
    """Return the probability of each document given the query, all equally probable before; none if all are 0."""
    greatest = max(logprobs)
    if greatest == -math.inf:
        return []
    weights = [math.exp(value - greatest) for value in logprobs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]
