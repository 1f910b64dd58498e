"""POST /v1/decisions: questions about an input, answered by the probabilities that the model gives to labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from heatbath.engine.base import ModelInfo, Request
from heatbath.serve.errors import invalid_value
from heatbath.serve.openai.generation import GenerationTask
from heatbath.serve.openai.outputs import PromptOutput, usage
from heatbath.serve.openai.questions import LabeledQuestion, label_question, question_prompt, render_input
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.responder import response_headers
from heatbath.serve.openai.sampling_params import available_tokens
from heatbath.serve.openai.schema import decisions as schema
from heatbath.serve.openai.scoring import continuation_logprob, scoring_request

if TYPE_CHECKING:
    from heatbath.serve.openai.decision_levels import LeveledQuestion

MAX_LABELS = 2048

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class TokenizedQuestion:
    """A question as tokens: the prompt, and each label; and the question at the level that is asked for."""

    prompt: Tokens
    labels: tuple[Tokens, ...]
    leveled: LeveledQuestion | None = None

    @property
    def num_requests(self) -> int:
        """Requests to the engine: one for each label, and one for each order of the options at a level."""
        return len(self.labels) + (len(self.leveled.prompts) if self.leveled else 0)


async def decisions(context: RequestContext) -> Any:
    """Answer questions about an input."""
    body = await context.read_body(schema.DecisionRequest)
    context.services.model_names.resolve(body.model)
    questions = await context.offload(partial(_tokenize_questions, context.language, body))
    _check(context, questions)
    if body.thermo is not None:
        questions = await context.offload(partial(_add_levels, context, body, questions))
    requests = [request for i, question in enumerate(questions) for request in _requests(context, question, i)]
    plan = context.plan(requests, context.request_info({"questions": len(questions)}), store=body.store)
    task = context.admit(plan, sum(len(request.prompt) for request in requests))
    return await context.respond(task, partial(_complete, context, body, questions, task))


def _add_levels(
    context: RequestContext, body: schema.DecisionRequest, questions: Sequence[TokenizedQuestion]
) -> list[TokenizedQuestion]:
    """Return the questions with what the level takes that the request asks for."""
    from heatbath.serve.openai.decision_levels import build_leveled_questions  # its numerics take long to import

    leveled = build_leveled_questions(context, body, body.thermo or schema.DecisionThermoOptions())
    return [replace(one, leveled=other) for one, other in zip(questions, leveled, strict=True)]


def _tokenize_questions(language: ModelInfo, body: schema.DecisionRequest) -> list[TokenizedQuestion]:
    text = render_input(body.input)
    questions = [label_question(question, text, f"questions[{i}]") for i, question in enumerate(body.questions)]
    return [_tokenize_question(language, question) for question in questions]


def _tokenize_question(language: ModelInfo, question: LabeledQuestion) -> TokenizedQuestion:
    labels = tuple(tuple(language.encode(label, document_start=False)) for label in question.labels)
    return TokenizedQuestion(question_prompt(language, question.text), labels)


def _check(context: RequestContext, questions: Sequence[TokenizedQuestion]) -> None:
    labels = sum(len(question.labels) for question in questions)
    if labels > MAX_LABELS:
        raise invalid_value(f"questions have {labels} labels in all: give at most {MAX_LABELS}.", "questions")
    limit = context.services.settings.limits.max_tokens
    for question in questions:
        available_tokens(context.language, [(*question.prompt, *label) for label in question.labels], limit, "input")


def _requests(context: RequestContext, question: TokenizedQuestion, number: int) -> list[Request]:
    """Return one request for each label, whose tokens are scored as the end of the prompt, and those of the level."""
    requests = [
        scoring_request(context, (*question.prompt, *label), f"{number}.{i}") for i, label in enumerate(question.labels)
    ]
    return requests + (question.leveled.build_requests(context, str(number)) if question.leveled else [])


async def _complete(
    context: RequestContext,
    body: schema.DecisionRequest,
    questions: Sequence[TokenizedQuestion],
    task: GenerationTask,
) -> Response:
    """Return all answers, in the order of the questions."""
    outputs = await task.run()
    starts = list(accumulate((question.num_requests for question in questions), initial=0))
    answers = [
        _answer(question, tokenized, outputs[low:high])
        for question, tokenized, (low, high) in zip(body.questions, questions, pairwise(starts), strict=True)
    ]
    content = {"input": body.input, "questions": body.questions, "answers": answers}
    stored = await task.settle([], msgspec.to_builtins(content))
    info = task.plan.info
    decision = schema.Decision(
        id=f"dec-{info.id}",
        created=int(info.created_at),
        model=info.model,
        answers=answers,
        usage=_decision_usage(outputs),
    )
    return context.json_response(decision, response_headers(task, stored))


def _answer(
    question: schema.Question, tokenized: TokenizedQuestion, scored: Sequence[PromptOutput]
) -> schema.DecisionAnswer:
    logprobs = [
        continuation_logprob(output, len(label)) for label, output in zip(tokenized.labels, scored, strict=False)
    ]
    normalized = normalize(exclusive_probabilities(tokenized.labels, logprobs))
    if normalized is None:
        return schema.RefusalAnswer(name=question.name)
    probabilities, mass = normalized
    diagnostics = schema.DecisionDiagnostics(mass)
    thermo = tokenized.leveled.answer(scored[len(tokenized.labels) :]) if tokenized.leveled else UNSET
    if isinstance(question, schema.Predicate):
        return schema.PredicateAnswer(
            name=question.name, probability=probabilities[0], diagnostics=diagnostics, thermo=thermo
        )
    if isinstance(question, schema.Choice):
        values = [option.value for option in question.choices]
        choices = [schema.ChoiceProbability(*pair) for pair in zip(values, probabilities, strict=True)]
        best = max(choices, key=lambda choice: choice.probability)
        return schema.ChoiceAnswer(
            name=question.name,
            choice=best.value,
            probabilities=choices,
            confidence=best.probability,
            diagnostics=diagnostics,
            thermo=thermo,
        )
    names = [level.label for level in question.levels]
    levels = [schema.LevelProbability(i, *pair) for i, pair in enumerate(zip(names, probabilities, strict=True))]
    return schema.ScoreAnswer(
        name=question.name,
        score=math.fsum(level.value * level.probability for level in levels),
        probabilities=levels,
        confidence=max(probabilities),
        diagnostics=diagnostics,
        thermo=thermo,
    )


def exclusive_probabilities(labels: Sequence[Tokens], logprobs: Sequence[float]) -> list[float]:
    r"""Return the probabilities that the text begins with each label and with no longer one, (n,).

    $p(i) - \sum_j p(j)$ over the labels j that begin with label i and lie within no other such label. They add up to
    the probability that the text begins with any label, at most 1.
    """
    inclusive = [math.exp(value) for value in logprobs]
    exclusive = []
    for i, label in enumerate(labels):
        longer = [j for j, other in enumerate(labels) if _extends(other, label)]
        shortest = [j for j in longer if not any(_extends(labels[j], labels[k]) for k in longer)]
        exclusive.append(max(0.0, inclusive[i] - sum(inclusive[j] for j in shortest)))
    return exclusive


def _extends(tokens: Tokens, start: Tokens) -> bool:
    return len(tokens) > len(start) and tokens[: len(start)] == start


def normalize(probabilities: Sequence[float]) -> tuple[list[float], float] | None:
    """Return the probabilities among the labels, and their total; None where it is too small to be divided by."""
    mass = math.fsum(probabilities)
    if not mass > 1e-300:
        return None
    return [probability / mass for probability in probabilities], min(mass, 1.0)


def _decision_usage(outputs: Sequence[PromptOutput]) -> schema.DecisionUsage:
    total = usage(outputs)
    return schema.DecisionUsage(
        input_tokens=total.prompt_tokens,
        input_tokens_details=schema.InputTokensDetails(total.prompt_tokens_details.cached_tokens),
        output_tokens_details=schema.OutputTokensDetails(),
        total_tokens=total.prompt_tokens,
    )
