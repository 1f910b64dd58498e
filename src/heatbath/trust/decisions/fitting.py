"""Fits of decisions: offsets from texts without labels, a temperature and a head from labeled texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput, format_value, suggest_name
from heatbath.models.base import Model, dtype_name
from heatbath.trust.decisions.decision_rule import score_right_labels
from heatbath.trust.decisions.fit_file import DecisionFit
from heatbath.trust.decisions.head import fit_head
from heatbath.trust.decisions.label_tokens import Tokenizations
from heatbath.trust.decisions.levels import (
    MIN_LABELED,
    Level,
    average_orders,
    fit_offsets,
    fit_temperature,
    label_probabilities,
    validate_level,
)
from heatbath.trust.decisions.questions import DecisionQuestion, normalize_label
from heatbath.trust.decisions.readout import LabelReader, LabelReadout, Progress

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
LabeledText = tuple[str, str]


@dataclass(frozen=True)
class DecisionData:
    """Texts to fit from.

    Attributes:
        pool: texts without labels, for the offsets; empty takes the labeled texts, without their labels.
        labeled: texts with their labels, for the temperature and the head.
        held_out: more of them, from the same source, for conformal sets.
    """

    pool: Sequence[str] = ()
    labeled: Sequence[LabeledText] = ()
    held_out: Sequence[LabeledText] = ()

    @property
    def digest(self) -> str:
        """A hash of all texts and labels."""
        content = json.dumps([list(self.pool), [list(each) for each in (*self.labeled, *self.held_out)]])
        return f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"


class FitOptions(TypedDict, total=False):
    """The keyword arguments of `fit_decisions`."""

    levels: Sequence[Level]
    rotations: int | None
    tokenizations: Tokenizations
    rates: Sequence[float] | None
    progress: Progress | None


def fit_decisions(
    model: Model, question: DecisionQuestion, data: DecisionData, **options: Unpack[FitOptions]
) -> DecisionFit:
    """Fit levels of a question in a model.

    Args:
        model: a loaded model.
        question: from `build_question`.
        data: texts with and without labels.
        **options: `levels` to fit, by default "order" and, from enough labeled texts on, "temperature";
            `rotations`, `tokenizations` as in `decide`; `rates` of the labels in the pool, equal by default; and
            `progress`, called with texts done and in all.

    Raises:
        BadInput: fewer texts than a level needs, an unknown label.
    """
    levels = _choose_levels(options.get("levels"), data)
    answers = index_labels(question, data.labeled, "labeled")
    held_out = index_labels(question, data.held_out, "held_out")
    _validate_sizes(levels, len(answers))
    fitter = _Fitter(model, question, levels, options)
    labeled = fitter.read_labels([text for text, _ in data.labeled])
    pool = fitter.read_labels(data.pool) if "order" in levels and data.pool else labeled
    fit = fitter.fit(pool, labeled, answers)
    scores = fitter.score_held_out(fit, [text for text, _ in data.held_out], held_out)
    sizes = {"pool": len(data.pool), "labeled": len(data.labeled), "held_out": len(data.held_out)}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return replace(fit, held_out_scores=scores, sizes=sizes, data_hash=data.digest, created=created)


def _choose_levels(levels: Sequence[Level] | None, data: DecisionData) -> tuple[Level, ...]:
    """Return the levels to fit; a temperature is fitted on top of averaged orders."""
    if levels is None:
        has_enough = len(data.labeled) >= MIN_LABELED["temperature"]
        return ("order", "temperature") if has_enough else ("order",)
    if isinstance(levels, str):
        raise BadInput(f"`levels` is {levels!r}: give a list of levels.", param="levels")
    chosen = {validate_level(level) for level in levels} - {"raw"}
    if not chosen:
        raise BadInput("`levels` has nothing to fit: give order, temperature or head.", param="levels")
    if "temperature" in chosen:
        chosen.add("order")
    return tuple(sorted(chosen))


def _validate_sizes(levels: Sequence[Level], labeled: int) -> None:
    """Raise `BadInput` for too few labeled texts, before the model reads them."""
    for level, needed in MIN_LABELED.items():
        if level in levels and labeled < needed:
            raise BadInput(
                f"the level {level} needs {needed} labeled texts, got {labeled}: give {needed - labeled} more."
            )


def index_labels(question: DecisionQuestion, labeled: Sequence[LabeledText], what: str) -> Ints:
    """Return the number of each label, (n,). Raises `BadInput` for one that is none of the question's."""
    numbers = {normalize_label(label): number for number, label in enumerate(question.labels)}
    answers = []
    for place, each in enumerate(labeled):
        if not (isinstance(each, Sequence) and len(each) == 2 and all(isinstance(part, str) for part in each)):
            raise BadInput(f"{what} text {place} is {format_value(each)}: give pairs of a text and its label.")
        number = numbers.get(normalize_label(each[1]))
        if number is None:
            hint = suggest_name(each[1], question.labels)
            raise BadInput(
                f"the label {format_value(each[1])} of {what} text {place} is none of the question's{hint}: correct it."
            )
        answers.append(number)
    return np.array(answers, np.int64)


class _Fitter:
    """One fit: the reader of the question and the options of the fit."""

    def __init__(self, model: Model, question: DecisionQuestion, levels: Sequence[Level], options: FitOptions) -> None:
        self._model, self._question, self._levels, self._options = model, question, levels, options
        self._rotations = options.get("rotations")
        self._tokenizations: Tokenizations = options.get("tokenizations", "canonical")
        self._reader = LabelReader(model, question, self._tokenizations)
        orders = question.list_orders(self._rotations)
        self._orders = orders if "order" in levels else orders[:1]

    def read_labels(self, texts: Sequence[str]) -> LabelReadout | None:
        """Return the read-out of texts, None for none."""
        if not texts:
            return None
        with_hidden = "head" in self._levels
        return self._reader.read_labels(
            texts, self._orders, with_hidden=with_hidden, progress=self._options.get("progress")
        )

    def fit(self, pool: LabelReadout | None, labeled: LabelReadout | None, answers: Ints) -> DecisionFit:
        """Return what is fitted to the read-outs of the pool and of labeled texts."""
        offsets: tuple[float, ...] = ()
        temperature = head = None
        if "order" in self._levels:
            scores = average_orders(pool.logprobs) if pool else np.zeros((0, len(self._question.labels)))
            offsets = fit_offsets(scores, self._options.get("rates"))
        if "temperature" in self._levels and labeled:
            temperature = fit_temperature(average_orders(labeled.logprobs) + np.array(offsets), answers)
        if "head" in self._levels and labeled and labeled.hidden is not None:
            head = fit_head(labeled.hidden, answers, self._question.labels)
        return DecisionFit(
            question=self._question,
            model=self._model.name,
            fingerprint=self._model.fingerprint,
            dtype=dtype_name(self._model),
            rotations=self._rotations,
            tokenizations=self._tokenizations,
            offsets=offsets,
            temperature=temperature,
            head=head,
        )

    def score_held_out(self, fit: DecisionFit, texts: Sequence[str], answers: Ints) -> Mapping[str, tuple[float, ...]]:
        """Return the scores of held-out texts at each level that was fitted."""
        found = self.read_labels(texts)
        if found is None:
            return {}
        return {level: score_right_labels(apply_level(found, level, fit), answers) for level in self._levels}


def apply_level(readout: LabelReadout, level: Level, fit: DecisionFit | None) -> Floats:
    """Return the probabilities of labels at a level, (n, K), from a read-out of the orders that the level needs."""
    if level == "head":
        assert fit is not None and fit.head is not None and readout.hidden is not None
        return fit.head.probabilities(readout.hidden)
    scores = average_orders(readout.logprobs)
    if level == "raw" or fit is None:
        return label_probabilities(scores)
    temperature = fit.temperature if level == "temperature" and fit.temperature is not None else 1.0
    return label_probabilities(scores, offsets=fit.offsets, temperature=temperature)
