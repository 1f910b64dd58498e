"""All metrics of calibrated probabilities with their intervals, for all answers and for each group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from heatbath.estimate.proportion import error_interval
from heatbath.trust.calibration.ranking_metrics import (
    area_under_risk_coverage,
    area_under_roc,
    prediction_rejection_ratio,
)
from heatbath.trust.calibration.reliability import (
    EQUAL_MASS,
    EQUAL_WIDTH,
    NUM_BINS,
    ReliabilityBin,
    brier_score,
    calibration_error,
    negative_log_likelihood,
    reliability_bins,
)
from heatbath.trust.calibration.signal_ranking import bootstrap_interval, draw_counts
from heatbath.trust.calibration.signal_table import Floats, Ints, validate_labels, validate_probabilities

Metric = Callable[[Floats, Ints], float]

METRICS: dict[str, Metric] = {
    "NLL": negative_log_likelihood,
    "Brier": brier_score,
    "ECE, equal width": partial(calibration_error, rule=EQUAL_WIDTH),
    "ECE, equal mass": partial(calibration_error, rule=EQUAL_MASS),
    "AUROC": area_under_roc,
    "AURC": area_under_risk_coverage,
    "PRR": prediction_rejection_ratio,
}
"""The metrics of a report, of probabilities and labels."""
_NEEDS_BOTH = ("AUROC", "PRR")
_REPLICAS = 500
_BIN_ANSWERS = 20
"""Answers that a bin of the reliability diagram holds at least."""


@dataclass(frozen=True)
class MetricValue:
    """A metric with its 95 % bootstrap interval; NaN where labels of one kind leave it without a value."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricSummary:
    """The metrics of a set of answers.

    Attributes:
        group: the group, "" for all answers.
        answers: number of answers.
        accuracy: the share of right answers with its Clopper-Pearson interval.
        confidence: the mean probability.
        metrics: every metric of `METRICS`.
        reliability: the bins of the reliability diagram, of equal mass.
    """

    group: str
    answers: int
    accuracy: MetricValue
    confidence: float
    metrics: tuple[MetricValue, ...]
    reliability: tuple[ReliabilityBin, ...]

    def __getitem__(self, name: str) -> MetricValue:
        return next(one for one in self.metrics if one.name == name)


def summarize_metrics(
    probabilities: Floats, labels: Ints, *, group: str = "", units: Ints | None = None, seed: int = 0
) -> MetricSummary:
    """Return the metrics of answers with their intervals.

    Raises:
        BadInput: a probability outside [0, 1], or a label that is not 0 or 1.
    """
    y = validate_labels(labels)
    p = validate_probabilities(probabilities, len(y))
    size, right = np.array([len(y)], np.float64), np.array([y.sum()], np.float64)
    low, high = error_interval(right, size)
    accuracy = MetricValue("accuracy", float(right[0] / size[0]), float(low[0]), float(high[0]))
    has_both = 0 < right[0] < size[0]
    counts_rn = draw_counts(np.arange(len(y)) if units is None else units, _REPLICAS, np.random.default_rng(seed))
    metrics = [
        _estimate_metric(name, p, y, counts_rn) if has_both or name not in _NEEDS_BOTH else _missing_metric(name)
        for name in METRICS
    ]
    bins = max(1, min(NUM_BINS, len(y) // _BIN_ANSWERS))
    return MetricSummary(
        group, len(y), accuracy, float(p.mean()), tuple(metrics), reliability_bins(p, y, bins=bins, rule=EQUAL_MASS)
    )


def summarize_groups(
    probabilities: Floats, labels: Ints, groups: tuple[str, ...], *, units: Ints | None = None, seed: int = 0
) -> tuple[MetricSummary, ...]:
    """Return the metrics of each group, in alphabetical order; none where there is one group."""
    names = sorted(set(groups))
    if len(names) < 2:
        return ()
    found = []
    for name in names:
        mask = np.array([group == name for group in groups])
        unit_n = None if units is None else units[mask]
        found.append(summarize_metrics(probabilities[mask], labels[mask], group=name, units=unit_n, seed=seed))
    return tuple(found)


def _estimate_metric(name: str, p: Floats, y: Ints, counts_rn: Floats) -> MetricValue:
    return MetricValue(name, METRICS[name](p, y), *bootstrap_interval(METRICS[name], p, y, counts_rn))


def _missing_metric(name: str) -> MetricValue:
    return MetricValue(name, float("nan"), float("nan"), float("nan"))
