"""`hb.decide`: a question about texts, answered by the probabilities of its labels at a stated level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack, overload

from heatbath.engine.generation import validate_model
from heatbath.errors import BadInput
from heatbath.models.base import Model
from heatbath.models.continuations import HiddenStateModel
from heatbath.trust.decisions.decision import LabelDecision
from heatbath.trust.decisions.decision_rule import DecisionRule
from heatbath.trust.decisions.fit_file import DecisionFit, load_decision_fit
from heatbath.trust.decisions.fitting import Floats, apply_level
from heatbath.trust.decisions.label_tokens import Tokenizations
from heatbath.trust.decisions.levels import Level, validate_level
from heatbath.trust.decisions.questions import DecisionQuestion, Kind, Layout, Options, Order, build_question
from heatbath.trust.decisions.readout import LabelReader, Progress


class DecisionOptions(TypedDict, total=False):
    """The keyword arguments of `hb.decide`."""

    kind: Kind
    level: Level
    rotations: int | None
    layout: Layout
    tokenizations: Tokenizations
    alpha: float | None
    bound: float | None
    abstain_below: float | None
    progress: Progress | None


@overload  # a text is a sequence of texts, too
def decide(  # type: ignore[overload-overlap]
    model: Model,
    question: str | Path | DecisionQuestion | DecisionFit,
    options: Options | None = None,
    *,
    text: str,
    **how: Unpack[DecisionOptions],
) -> LabelDecision: ...
@overload
def decide(
    model: Model,
    question: str | Path | DecisionQuestion | DecisionFit,
    options: Options | None = None,
    *,
    text: Sequence[str],
    **how: Unpack[DecisionOptions],
) -> list[LabelDecision]: ...


def decide(
    model: Model,
    question: str | Path | DecisionQuestion | DecisionFit,
    options: Options | None = None,
    *,
    text: str | Sequence[str],
    **how: Unpack[DecisionOptions],
) -> LabelDecision | list[LabelDecision]:
    """Answer a question about one text, or about each of several, by the probabilities of its labels.

    Args:
        model: a loaded model.
        question: a question with `options`, a statement to judge without them, or a fit: a `DecisionFit` or the `Path`
            of its file, which has its question and options.
        options: the labels, or descriptions by label.
        text: a text or a list of texts.
        **how: `kind` ("choice", "yes_no", "score"); `level` ("raw", "order", "temperature", "head"; by default the
            highest of a fit, else raw); `rotations`, the number of orders that are averaged, by default all;
            `layout` of the prompt; `tokenizations` ("canonical" or "all"); `alpha`, the error rate of a conformal set
            of labels, or `bound` of its scores; `abstain_below`, the least probability of an answer; and
            `progress`, called with texts done and in all.

    Returns:
        A `LabelDecision`, or a list of them for a list of texts.

    Raises:
        BadInput: fewer than two labels, labels that are equal but for case and spaces, an empty text, a level without
            its fit, a fit for another model.
        MissingExtra: a head without scikit-learn.
    """
    validate_model(model)
    fit = _find_fit(model, question)
    asked = _find_question(question, options, fit, how)
    level = validate_level(how["level"]) if "level" in how else (fit.levels[-1] if fit else "raw")
    tokenizations = fit.tokenizations if fit else how.get("tokenizations", "canonical")
    rule = DecisionRule(level, fit, how.get("alpha"), how.get("bound"), how.get("abstain_below"), tokenizations)
    rule.find_bound()
    is_one = isinstance(text, str) or not isinstance(text, Sequence)
    texts: Sequence[str] = [text] if is_one else list(text)  # type: ignore[list-item]
    orders = list_orders(asked, level, fit.rotations if fit else how.get("rotations"))
    reader = LabelReader(model, asked, tokenizations)
    readout = reader.read_labels(texts, orders, with_hidden=level == "head", progress=how.get("progress"))
    probabilities: Floats = apply_level(readout, level, fit)
    decisions = [
        rule.decide(asked, each, mass=mass, num_orders=len(orders))
        for each, mass in zip(probabilities.tolist(), readout.masses.tolist(), strict=True)
    ]
    return decisions[0] if is_one else decisions


def _find_fit(model: Model, question: object) -> DecisionFit | None:
    """Return the fit that is given as the question, checked against the model."""
    if isinstance(question, Path):
        return load_decision_fit(question, model)
    if isinstance(question, DecisionFit):
        question.validate_model(model)
        return question
    return None


def _find_question(
    question: str | Path | DecisionQuestion | DecisionFit,
    options: Options | None,
    fit: DecisionFit | None,
    how: DecisionOptions,
) -> DecisionQuestion:
    settled: tuple[str, ...] = ("kind", "layout") if isinstance(question, DecisionQuestion) else ()
    settled = ("kind", "layout", "rotations", "tokenizations") if fit else settled
    given = [name for name in settled if name in how] + (["options"] if settled and options is not None else [])
    if given:
        raise BadInput(f"`{given[0]}` is settled by the fit or question that is given: leave it out.", param=given[0])
    if fit is not None:
        return fit.question
    if isinstance(question, DecisionQuestion):
        return question
    return build_question(
        question,  # type: ignore[arg-type]
        options,
        kind=how.get("kind"),
        layout=how.get("layout", "options_first"),
    )


def list_orders(question: DecisionQuestion, level: Level, rotations: int | None = None) -> list[Order]:
    """Return the orders of the options that a level reads: those given, the first, or those to average over."""
    if level == "raw":
        return [question.given_order]
    return [question.first_order] if level == "head" else question.list_orders(rotations)


@dataclass(frozen=True)
class LevelSupport:
    """A level, whether a model supports it, and in a few words what it takes or why not."""

    level: Level
    is_supported: bool
    reason: str


def check_levels(model: Model, question: DecisionQuestion | None = None) -> list[LevelSupport]:
    """Return the levels that a model supports, tried on a question of two labels or on `question`."""
    asked = question or build_question("Is the text a question?", ["question", "statement"])
    has_hidden = isinstance(model, HiddenStateModel)
    try:
        found = LabelReader(model, asked).read_labels(["Is it late?"], asked.list_orders(), with_hidden=has_hidden)
    except BadInput as error:
        return [LevelSupport(level, False, str(error)) for level in ("raw", "order", "temperature", "head")]
    finite = math.isfinite(float(found.logprobs.max()))
    reason = "" if finite else "the model gives the labels no probability"
    orders = len(asked.list_orders())
    return [
        LevelSupport("raw", finite, reason or "one pass"),
        LevelSupport("order", finite, reason or f"{orders} orders of {orders} options, one prefix each"),
        LevelSupport("temperature", finite, reason or "50 labeled texts or more"),
        LevelSupport("head", has_hidden, "60 labeled texts or more" if has_hidden else "it gives no hidden states"),
    ]
