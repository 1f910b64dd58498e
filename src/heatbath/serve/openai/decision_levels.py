"""Levels of decisions above the raw read-out: the requests to the engine that they take, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import UNSET

from heatbath.engine.base import ModelInfo, Request
from heatbath.errors import BadInput
from heatbath.serve.errors import invalid_value, unavailable_error
from heatbath.serve.openai.outputs import PromptOutput
from heatbath.serve.openai.questions import choice_labels, content_text, render_input
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.sampling_params import available_tokens
from heatbath.serve.openai.schema import decisions as schema
from heatbath.trust.decisions.decision_api import list_orders
from heatbath.trust.decisions.decision_rule import DecisionRule
from heatbath.trust.decisions.fit_file import DecisionFit
from heatbath.trust.decisions.fitting import apply_level
from heatbath.trust.decisions.label_tokens import LabelTokens, Tokenizations, encode_labels
from heatbath.trust.decisions.levels import Level
from heatbath.trust.decisions.questions import (
    DecisionQuestion,
    Order,
    build_question,
    encode_question,
    label_texts,
    normalize_label,
)
from heatbath.trust.decisions.readout import LabelReadout, validate_texts

Tokens = tuple[int, ...]

MAX_ORDERS = 512


@dataclass(frozen=True)
class LeveledQuestion:
    """A question at a level.

    Attributes:
        question: the question as it was asked; `read` is that of the fit, whose options may have another order.
        rule: the level, and what is done with its probabilities.
        labels: the tokens of the labels of `read`.
        prompts: one for each order of the options.
    """

    question: DecisionQuestion
    read: DecisionQuestion
    rule: DecisionRule
    labels: LabelTokens
    prompts: tuple[Tokens, ...]

    def build_requests(self, context: RequestContext, name: str) -> list[Request]:
        """Return one request for each order of the options."""
        paths = self.labels.tree_paths
        return [
            Request(
                prompt,
                f"{context.id}/{name}.order{i}",
                context.tenant.name,
                max_tokens=0,
                record=None,
                continuations=paths,
                hidden_state=self.rule.level == "head",
                deadline=context.services.settings.engine.deadline_seconds,
            )
            for i, prompt in enumerate(self.prompts)
        ]

    def answer(self, outputs: Sequence[PromptOutput]) -> schema.DecisionThermo:
        """Return the decision from the outputs of the requests."""
        events = [output.began for output in outputs if output.began is not None]
        logprobs = np.array([event.continuation_logprobs for event in events])
        hidden = np.array([events[0].hidden_state]) if self.rule.level == "head" else None
        readout = LabelReadout(self.labels.label_logprobs(logprobs)[None], hidden)
        found = apply_level(readout, self.rule.level, self.rule.fit)[0]
        places = {normalize_label(label): place for place, label in enumerate(self.read.labels)}
        ordered = [float(found[places[normalize_label(label)]]) for label in self.question.labels]
        decision = self.rule.decide(self.question, ordered, mass=float(readout.masses[0]), num_orders=len(self.prompts))
        return schema.DecisionThermo(
            level=decision.level,
            probabilities=list(decision.probabilities),
            confidence=decision.confidence,
            calibrated=decision.level in ("temperature", "head"),
            label_mass=decision.label_mass,
            num_orders=decision.num_orders,
            has_prior=decision.has_prior,
            temperature=UNSET if decision.temperature is None else decision.temperature,
            alpha=UNSET if decision.alpha is None else decision.alpha,
            label_set=UNSET if decision.label_set is None else list(decision.label_set),
            abstain=UNSET if decision.abstains is None else decision.abstains,
        )


@dataclass(frozen=True)
class _LevelPlan:
    """A question before its prompts are encoded: with its rule, the question of its fit, and the orders to read."""

    question: DecisionQuestion
    read: DecisionQuestion
    rule: DecisionRule
    orders: Sequence[Order]


def build_leveled_questions(
    context: RequestContext, body: schema.DecisionRequest, options: schema.DecisionThermoOptions
) -> list[LeveledQuestion]:
    """Return the questions of a request at the level that `options` ask for.

    Raises:
        BadInput: labels that are equal after normalization, an empty input.
        ApiError: 400 for a level without a fit, or too many orders; 503 for a fit of another model.
    """
    text = render_input(body.input)
    validate_texts([text])
    plans = [_plan_question(context, question, options, f"questions[{i}]") for i, question in enumerate(body.questions)]
    count = sum(len(plan.orders) for plan in plans)
    if count > MAX_ORDERS:
        message = f"the questions are asked in {count} orders of their options: give at most {MAX_ORDERS} in all."
        raise invalid_value(message, "thermo.rotations")
    questions = [_encode_plan(context.language, plan, text) for plan in plans]
    limit = context.services.settings.limits.max_tokens
    for question in questions:
        longest = max(question.labels.tree_paths, key=len)
        available_tokens(context.language, [(*prompt, *longest) for prompt in question.prompts], limit, "input")
    return questions


def _plan_question(
    context: RequestContext, question: schema.Question, options: schema.DecisionThermoOptions, place: str
) -> _LevelPlan:
    core = convert_question(question, place)
    fit = context.services.decision_fits.get(core.digest)
    if fit is not None:
        _validate_fit(fit, context.language)
    level: Level = options.level or (fit.levels[-1] if fit else "order")
    _validate_level(level, fit, place)
    tokenizations: Tokenizations = fit.tokenizations if fit else "canonical"
    rule = DecisionRule(level, fit, options.alpha, options.bound, options.abstain_below, tokenizations)
    rule.find_bound()
    read = fit.question if fit else core
    orders = list_orders(read, level, fit.rotations if fit else options.rotations)
    return _LevelPlan(core, read, rule, orders)


def _encode_plan(language: ModelInfo, plan: _LevelPlan, text: str) -> LeveledQuestion:
    labels = encode_labels(language, label_texts(language, plan.read), plan.rule.tokenizations)
    prompts = tuple(tuple(encode_question(language, plan.read, text, order)) for order in plan.orders)
    return LeveledQuestion(plan.question, plan.read, plan.rule, labels, prompts)


def convert_question(question: schema.Question, place: str) -> DecisionQuestion:
    """Return a question of a request as one of `heatbath.trust.decisions`."""
    text = content_text(question.instructions, f"{place}.instructions")
    if isinstance(question, schema.Predicate):
        return build_question(text, kind="yes_no")
    if isinstance(question, schema.Choice):
        labels = choice_labels(question.choices, f"{place}.choices")
        descriptions = [option.description for option in question.choices]
        return build_question(text, dict(zip(labels, descriptions, strict=True)), kind="choice")
    levels = {level.label: level.description for level in question.levels}
    if len(levels) < len(question.levels):
        raise invalid_value(f"{place}.levels has two that are the same: make each different.", f"{place}.levels")
    return build_question(text, levels, kind="score")


def _validate_fit(fit: DecisionFit, language: ModelInfo) -> None:
    try:
        fit.validate_model(language)
    except BadInput as error:
        raise unavailable_error(str(error)) from error


def _validate_level(level: Level, fit: DecisionFit | None, place: str) -> None:
    if level in ("temperature", "head") and (fit is None or level not in fit.levels):
        message = (
            f"the level {level} needs a fit for {place}, and trust.decisions of the server has none: "
            "make one with `heatbath decide fit`, or ask for order."
        )
        raise invalid_value(message, "thermo.level")
