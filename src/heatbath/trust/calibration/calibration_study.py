"""The analysis of a calibration: split, chosen signal and fit, guarantee, and what held-out answers show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from heatbath.errors import BadInput
from heatbath.estimate.proportion import error_interval
from heatbath.trust.calibration.answer_file import StoredAnswer
from heatbath.trust.calibration.answer_selection import (
    ErrorTarget,
    SelectionGuarantee,
    choose_thresholds,
    select_answers,
)
from heatbath.trust.calibration.base import LOG_PROBABILITY, find_domain
from heatbath.trust.calibration.calibration_data import CalibrationData
from heatbath.trust.calibration.cross_validation import (
    Candidate,
    ChosenFit,
    FitChoice,
    choose_aggregations,
    choose_fit,
    predict_nested,
)
from heatbath.trust.calibration.gauge_control import GaugeEffect, compare_gauges
from heatbath.trust.calibration.metric_summary import MetricSummary, MetricValue, summarize_groups, summarize_metrics
from heatbath.trust.calibration.ranking_metrics import RiskCoverage, risk_coverage
from heatbath.trust.calibration.signal_ranking import SignalRanking, rank_signals
from heatbath.trust.calibration.signal_table import Floats, Ints, SignalDescription, SignalTable
from heatbath.trust.calibration.splits import keep_one_of_each, split_units
from heatbath.trust.signals import SIGNALS

SHARES = (0.4, 0.3, 0.3)
"""Shares of the questions that choose and fit, that show the guarantee, and that are held out for the report."""
REFERENCE = "logprob"
"""The signal that all are compared with, at its default temperature: the log-probability, the usual baseline."""


@dataclass(frozen=True)
class StudyPlan:
    """The wishes for a calibration beside its answers: target of the guarantee, what may be chosen, and the seed."""

    target: ErrorTarget = field(default_factory=ErrorTarget)
    choice: FitChoice = field(default_factory=FitChoice)
    seed: int = 0

    def require_questions(self, questions: int) -> None:
        """Check before any work that there are enough questions.

        Raises:
            BadInput: there are not; the message says how many are needed.
        """
        share = SHARES[1] / sum(SHARES)
        if np.floor(questions * share) < self.target.needed_answers:
            needed = int(np.ceil(self.target.needed_answers / share))
            raise BadInput(
                f"an error rate of at most {self.target.max_error:g} with confidence {self.target.confidence:g} needs "
                f"at least {needed} different questions, of which {share:.0%} "
                f"test the threshold, got {questions}: give more, or ask for a weaker guarantee."
            )


@dataclass(frozen=True)
class RealisedError:
    """The error rate among held-out questions that are answered, with its 95 % Clopper-Pearson interval."""

    answered: int
    wrong: int
    rate: MetricValue


@dataclass(frozen=True)
class CalibrationStudy:
    """Everything that a report shows.

    Attributes:
        questions: number of questions, and of different ones among them.
        parts: number of questions that chose and fitted, that tested the threshold, and that are held out.
        chosen: the signals and the name of the fit that were chosen.
        candidates: all that were tried, by their cross-validated Brier score.
        guarantee: the threshold with its guarantee.
        realised: its error rate among held-out questions.
        held_out: the metrics of held-out answers after calibration.
        groups: the same for each group.
        raw: the metrics of held-out answers by the probability that the model itself gives, None if there is none.
        nested: the metrics of all answers by nested cross-validation of the whole choice.
        nested_choices: what each outer fold chose.
        ranking: all signals on held-out answers, each by the aggregation that was chosen before.
        coverage: risk against coverage of held-out answers.
        gauge: the effect of random constants on each signal, on all answers.
        dropped: signals that were left out, with the reason.
        examples: a few answers: question, answer, expected, label, confidence.
        sample: the confidences of different questions that neither chose nor fitted anything, in rising order.
    """

    questions: tuple[int, int]
    parts: tuple[int, int, int]
    chosen: tuple[tuple[str, ...], str]
    candidates: tuple[Candidate, ...]
    guarantee: SelectionGuarantee
    realised: RealisedError
    held_out: MetricSummary
    groups: tuple[MetricSummary, ...]
    raw: MetricSummary | None
    nested: MetricSummary
    nested_choices: tuple[tuple[str, ...], ...]
    ranking: SignalRanking
    coverage: RiskCoverage
    gauge: tuple[GaugeEffect, ...]
    dropped: tuple[tuple[str, str], ...]
    examples: tuple[tuple[str, str, str, int, float], ...]
    sample: tuple[float, ...] = ()


def build_table(data: CalibrationData, answers: Sequence[StoredAnswer]) -> tuple[SignalTable, list[tuple[str, str]]]:
    """Return the table of signals that all answers have, and those that are left out with the reason."""
    names, dropped = [], []
    for name in answers[0].signals:
        missing = sum(not np.isfinite(answer.signals[name]) for answer in answers)
        if missing:
            dropped.append((name, f"not a finite number for {missing} of {len(answers)} answers"))
        else:
            names.append(name)
    if not names:
        raise BadInput("no signal has a value for every answer: name other signals.")
    columns = tuple(_describe_signal(name, answers) for name in names)
    values = np.array([[answer.signals[name] for name in names] for answer in answers])
    labels = np.array([answer.label for answer in answers])
    return SignalTable(columns, values, labels, data.groups, data.find_units()), dropped


def _describe_signal(name: str, answers: Sequence[StoredAnswer]) -> SignalDescription:
    spec = SIGNALS.find(name).spec
    cost = float(np.mean([answer.costs[name] for answer in answers]))
    return SignalDescription(name, spec.direction, cost, spec.is_gauge_invariant)


@dataclass(frozen=True)
class _Parts:
    """The tables of the three parts of a split."""

    fitted: SignalTable
    tested: SignalTable
    held_out: SignalTable
    held_out_rows: Ints


def analyze_answers(
    data: CalibrationData, answers: Sequence[StoredAnswer], plan: StudyPlan
) -> tuple[ChosenFit, CalibrationStudy]:
    """Choose, fit, test and report.

    Raises:
        BadInput: answers of one kind only, or fewer questions than the guarantee needs.
    """
    table, dropped = build_table(data, answers)
    parts = _split_table(table, plan)
    chosen = choose_fit(parts.fitted, plan.choice, seed=plan.seed)
    guarantee = select_answers(
        chosen.predict(parts.tested),
        parts.tested.labels,
        thresholds=choose_thresholds(chosen.predict(parts.fitted), parts.fitted.labels, plan.target.max_error),
        target=plan.target,
    )
    test = parts.held_out
    predicted = chosen.predict(test)
    nested = predict_nested(table, plan.choice, seed=plan.seed)
    names = choose_aggregations(parts.fitted)
    shifted = np.array([[answer.shifted[name] for name in table.names] for answer in answers])
    study = CalibrationStudy(
        questions=(len(table), len(np.unique(table.units))),
        parts=(len(parts.fitted), len(parts.tested), len(test)),
        chosen=(chosen.signals, chosen.candidates[0].fit),
        candidates=chosen.candidates,
        guarantee=guarantee,
        realised=_measure_error(predicted, test.labels, guarantee),
        held_out=summarize_metrics(predicted, test.labels, units=test.units, seed=plan.seed),
        groups=summarize_groups(predicted, test.labels, test.groups, units=test.units, seed=plan.seed),
        raw=_summarize_raw(test, plan.seed),
        nested=summarize_metrics(nested.probabilities, table.labels, units=table.units, seed=plan.seed),
        nested_choices=nested.choices,
        ranking=rank_signals(test.select(names), _find_reference(names), seed=plan.seed),
        coverage=risk_coverage(predicted, test.labels),
        gauge=compare_gauges(table, shifted),
        dropped=tuple(dropped),
        examples=_collect_examples(data, answers, parts.held_out_rows, predicted),
        sample=_sample_confidences(chosen, parts, plan.seed),
    )
    return chosen, study


def _split_table(table: SignalTable, plan: StudyPlan) -> _Parts:
    fitted, tested, held_out = split_units(table.units, SHARES, plan.seed)
    tested = tested[keep_one_of_each(table.units[tested], plan.seed)]
    plan.target.require_questions(len(tested))
    parts = _Parts(table.take(fitted), table.take(tested), table.take(held_out), held_out)
    for name, part in (("fitted", parts.fitted), ("held out", parts.held_out)):
        right = int(part.labels.sum())
        if not 0 < right < len(part):
            raise BadInput(
                f"the answers that are {name} have labels of one kind, {right} right of {len(part)}: give more "
                "questions, or questions of another difficulty."
            )
    return parts


def _sample_confidences(chosen: ChosenFit, parts: _Parts, seed: int) -> tuple[float, ...]:
    """Return the confidences of the questions that were tested and held out, one of each of the duplicates."""
    held_out = parts.held_out.take(keep_one_of_each(parts.held_out.units, seed))
    found = np.concatenate([chosen.predict(parts.tested), chosen.predict(held_out)])
    return tuple(np.sort(found).tolist())


def _find_reference(names: Sequence[str]) -> str:
    """Return the log-probability among the names; the first where it is not there."""
    return next((name for name in names if name.partition(":")[0].partition("@")[0] == REFERENCE), names[0])


def _summarize_raw(table: SignalTable, seed: int) -> MetricSummary | None:
    """Return the metrics of the probability of the whole answer, uncalibrated."""
    name = next((one for one in table.names if one.startswith(REFERENCE) and one.endswith(":sum")), None)
    if name is None or find_domain(table.scores(name)) != LOG_PROBABILITY:
        return None
    return summarize_metrics(np.exp(table.scores(name)), table.labels, units=table.units, seed=seed)


def _measure_error(confidence_n: Floats, labels_n: Ints, guarantee: SelectionGuarantee) -> RealisedError:
    answered_n = confidence_n >= (np.inf if guarantee.threshold is None else guarantee.threshold)
    answered, wrong = int(answered_n.sum()), int((answered_n & (labels_n == 0)).sum())
    if not answered:
        return RealisedError(0, 0, MetricValue("error rate", float("nan"), float("nan"), float("nan")))
    low, high = error_interval(np.array([float(wrong)]), np.array([float(answered)]))
    return RealisedError(answered, wrong, MetricValue("error rate", wrong / answered, float(low[0]), float(high[0])))


def _collect_examples(
    data: CalibrationData, answers: Sequence[StoredAnswer], rows: Ints, predicted: Floats
) -> tuple[tuple[str, str, str, int, float], ...]:
    """Return the held-out answers of the largest and smallest confidence, right and wrong."""
    order = np.argsort(-predicted, kind="stable").tolist()
    found = []
    for label in (1, 0):
        same = [i for i in order if answers[rows[i]].label == label]
        found += same[:3] + same[3:][-3:]
    return tuple(
        (
            data.questions[rows[i]].item.question,
            answers[rows[i]].text,
            data.questions[rows[i]].item.expected,
            answers[rows[i]].label,
            float(predicted[i]),
        )
        for i in found
    )
