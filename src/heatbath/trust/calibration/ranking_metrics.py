r"""Metrics of the order that a signal puts answers in: AUROC, risk against coverage, AURC and PRR.

Conventions: larger scores mean right answers. Equal scores have no order, so that every metric is its mean over the
orders of tied answers, and does not depend on the order of the rows. The risk at coverage \(k/n\) is the share of wrong
answers among the \(k\) with the largest scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from heatbath.estimate.proportion import error_interval
from heatbath.trust.calibration.signal_table import (
    Floats,
    Ints,
    validate_both_labels,
    validate_labels,
    validate_scores,
)

BLOCK_VALUES = 1 << 21
"""Values of one block of bootstrap replicas."""


def area_under_roc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the AUROC: the probability that a right answer scores above a wrong one, ties counting one half.

    Equals `sklearn.metrics.roc_auc_score(labels, scores)`.

    Raises:
        BadInput: labels of one kind only, or not 0 or 1; a score that is not finite.
    """
    labels_n = validate_labels(labels)
    scores_n = validate_scores(scores, len(labels_n))
    validate_both_labels(labels_n, "AUROC")
    right = int(labels_n.sum())
    rank_sum = float(rankdata(scores_n)[labels_n == 1].sum())
    return (rank_sum - right * (right + 1) / 2) / (right * (len(labels_n) - right))


@dataclass(frozen=True)
class RiskCoverage:
    """The risk among the answers kept at each coverage 1/n to 1, (n,), its expectation over ties, with 95 % bounds."""

    coverage: Floats
    risk: Floats
    low: Floats
    high: Floats


def risk_coverage(scores: ArrayLike, labels: ArrayLike) -> RiskCoverage:
    """Return the risk among kept answers against the share that is kept, with pointwise Clopper-Pearson bounds.

    Raises:
        BadInput: a label that is not 0 or 1; a score that is not finite.
    """
    labels_n = validate_labels(labels)
    wrong = _expected_wrong(validate_scores(scores, len(labels_n)), labels_n)
    kept = np.arange(1, len(labels_n) + 1, dtype=np.float64)
    low, high = error_interval(wrong, kept)
    return RiskCoverage(kept / len(kept), wrong / kept, low, high)


def area_under_risk_coverage(scores: ArrayLike, labels: ArrayLike) -> float:
    r"""Return the AURC: the mean over \(k = 1 \ldots n\) of the risk among the \(k\) largest scores; 0 is best.

    Source: Geifman, Uziel and El-Yaniv 2019, without the subtraction of the optimum.
    """
    labels_n = validate_labels(labels)
    wrong = _expected_wrong(validate_scores(scores, len(labels_n)), labels_n)
    return float((wrong / np.arange(1, len(labels_n) + 1)).mean())


def prediction_rejection_ratio(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the PRR: how far the AURC lies from that of a random order (0) towards that of the best order (1).

    Rejection goes from none to all but one answer. Negative if the order is worse than random. Source: Malinin and
    Gales 2021.

    Raises:
        BadInput: labels of one kind only, or not 0 or 1; a score that is not finite.
    """
    labels_n = validate_labels(labels)
    validate_both_labels(labels_n, "PRR")
    best = float(np.mean(np.cumsum(np.sort(1 - labels_n)) / np.arange(1, len(labels_n) + 1)))
    chance = 1 - float(labels_n.mean())
    return (chance - area_under_risk_coverage(scores, labels_n)) / (chance - best)


def _expected_wrong(scores_n: Floats, labels_n: Ints) -> Floats:
    """Return the expected number of wrong answers among the k largest scores for k = 1 to n, (n,)."""
    order = np.argsort(-scores_n, kind="stable")
    starts = _block_starts(scores_n[order])
    sizes = np.diff([*starts, len(order)])
    wrong_per_block = np.add.reduceat(1 - labels_n[order], starts)
    return np.cumsum(np.repeat(wrong_per_block / sizes, sizes))


def _block_starts(sorted_n: Floats) -> NDArray[np.intp]:
    return np.flatnonzero(np.r_[True, sorted_n[1:] != sorted_n[:-1]])


def weighted_areas(scores_nm: Floats, labels_n: Ints, weights_rn: Floats) -> Floats:
    """Return the AUROC of every signal in every bootstrap replica, (r, m), NaN for a replica with one kind of label.

    `weights_rn` says how often each answer counts in each replica.
    """
    areas_rm = np.empty((len(weights_rn), scores_nm.shape[1]))
    step = max(1, BLOCK_VALUES // len(labels_n))
    for first in range(0, len(weights_rn), step):
        block_rn = weights_rn[first : first + step]
        for m in range(scores_nm.shape[1]):
            areas_rm[first : first + step, m] = _weighted_area(scores_nm[:, m], labels_n, block_rn)
    return areas_rm


def _weighted_area(scores_n: Floats, labels_n: Ints, weights_rn: Floats) -> Floats:
    order = np.argsort(scores_n, kind="stable")
    starts = _block_starts(scores_n[order])
    sorted_rn = weights_rn[:, order]
    right_rb = np.add.reduceat(sorted_rn * labels_n[order], starts, axis=1)
    wrong_rb = np.add.reduceat(sorted_rn * (1 - labels_n[order]), starts, axis=1)
    below_rb = np.cumsum(wrong_rb, axis=1) - wrong_rb / 2
    pairs_r = right_rb.sum(1) * wrong_rb.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs_r > 0, (right_rb * below_rb).sum(1) / pairs_r, np.nan)
