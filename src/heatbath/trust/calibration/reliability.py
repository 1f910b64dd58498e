r"""Metrics of probabilities: NLL, Brier score, expected calibration error, and the reliability diagram.

Conventions: a probability is that of a right answer, and is compared with labels 0 and 1. Bins of equal width are
\([k/B, (k+1)/B)\), the last one closed, so that 0.0 and 1.0 are counted once. Bins of equal mass hold \(n/B\) answers
each; equal probabilities are never parted, and all go to the bin of the first of them. Empty bins count nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy

from heatbath.errors import BadInput
from heatbath.estimate.proportion import error_interval
from heatbath.trust.calibration.signal_table import Floats, Ints, validate_labels, validate_probabilities

EQUAL_WIDTH, EQUAL_MASS = "equal width", "equal mass"
NUM_BINS = 10
LEVEL = 0.95
"""The level of the intervals of reports."""


@dataclass(frozen=True)
class ReliabilityBin:
    """The answers of one bin: how many, their mean probability, and the share that is right with its interval."""

    count: int
    confidence: float
    accuracy: float
    low: float
    high: float


def negative_log_likelihood(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean of -ln of the probability of what happened, nats; infinite if it was said to be impossible.

    Equals `sklearn.metrics.log_loss` for probabilities inside (0, 1); scikit-learn clips 0 and 1, and this does not.

    Raises:
        BadInput: a probability outside [0, 1], or a label that is not 0 or 1.
    """
    p, y = _validate(probabilities, labels)
    with np.errstate(divide="ignore"):
        return float(-np.mean(xlogy(y, p) + xlogy(1 - y, 1 - p)))


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean squared difference of probability and label, as `sklearn.metrics.brier_score_loss`.

    Raises:
        BadInput: a probability outside [0, 1], or a label that is not 0 or 1.
    """
    p, y = _validate(probabilities, labels)
    return float(np.mean((p - y) ** 2))


def calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = NUM_BINS, rule: str = EQUAL_WIDTH
) -> float:
    """Return the ECE: the mean distance of confidence and accuracy over bins, weighted by their answers.

    Args:
        probabilities: the probability of a right answer, (n,).
        labels: 1 for right and 0 for wrong, (n,).
        bins: number of bins.
        rule: "equal width" or "equal mass".

    Raises:
        BadInput: a probability outside [0, 1], a label that is not 0 or 1, no bins or another rule.
    """
    p, y = _validate(probabilities, labels)
    index = _assign_bins(p, bins, rule)
    return float(np.abs(np.bincount(index, y) - np.bincount(index, p)).sum() / len(y))


def reliability_bins(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = NUM_BINS, rule: str = EQUAL_WIDTH
) -> tuple[ReliabilityBin, ...]:
    """Return the bins of a reliability diagram that hold answers, with 95 % Clopper-Pearson intervals.

    Raises:
        BadInput: as in `calibration_error`.
    """
    p, y = _validate(probabilities, labels)
    index = _assign_bins(p, bins, rule)
    count = np.bincount(index, minlength=bins)
    used = np.flatnonzero(count)
    size = count[used].astype(np.float64)
    right = np.bincount(index, y, minlength=bins)[used].astype(np.float64)
    confidence = np.bincount(index, p, minlength=bins)[used] / size
    low, high = error_interval(right, size)
    columns = (count[used], confidence, right / size, low, high)
    return tuple(ReliabilityBin(int(n), *map(float, rest)) for n, *rest in zip(*columns, strict=True))


def _assign_bins(p: Floats, bins: int, rule: str) -> Ints:
    if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
        raise BadInput(f"`bins` must be an integer of at least 1, got {bins!r}.")
    if rule == EQUAL_WIDTH:
        # k/B rounded once: a probability written 0.3 is the bound of a bin of ten, which np.linspace misses.
        return np.searchsorted(np.arange(1, bins) / bins, p, side="right").astype(np.int64)
    if rule == EQUAL_MASS:
        below = np.searchsorted(np.sort(p), p, side="left")
        return (below * bins // len(p)).astype(np.int64)
    raise BadInput(f"`rule` must be {EQUAL_WIDTH!r} or {EQUAL_MASS!r}, got {rule!r}.")


def _validate(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    y = validate_labels(labels)
    return validate_probabilities(probabilities, len(y)), y
