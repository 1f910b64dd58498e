"""Fits without a shape: histogram, isotonic regression and Venn-Abers, on one signal of any range."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from heatbath.trust.calibration.base import Fit, prepare_scores
from heatbath.trust.calibration.signal_table import Floats, Ints

BIN_ANSWERS = 20
"""Answers that a bin of the histogram fit holds at least."""
MAX_BINS = 10


@dataclass(frozen=True)
class HistogramFit(Fit):
    """A probability for each bin of the signal; bin k is [edges[k-1], edges[k]), open at both ends of the line."""

    edges: tuple[float, ...]
    probabilities: tuple[float, ...]

    def predict(self, scores_ns: Floats) -> Floats:
        """Return the probability of a right answer, (n,)."""
        return np.array(self.probabilities)[np.searchsorted(np.array(self.edges), scores_ns[:, 0], side="right")]


def fit_histogram(scores_ns: Floats, labels_n: Ints) -> HistogramFit:
    """Return the share of right answers in up to ten bins of equal mass, (r + 1/2)/(n + 1).

    Half an answer of each kind is added, so that no bin says that something is impossible.

    Raises:
        BadInput: labels of one kind only.
    """
    scores_n = prepare_scores(scores_ns, labels_n)
    bins = max(1, min(MAX_BINS, len(scores_n) // BIN_ANSWERS))
    ordered = np.sort(scores_n)
    edges = np.unique(ordered[np.arange(1, bins) * len(ordered) // bins])
    edges = edges[edges > ordered[0]]
    index = np.searchsorted(edges, scores_n, side="right")
    count = np.bincount(index, minlength=len(edges) + 1)
    right = np.bincount(index, labels_n, minlength=len(edges) + 1)
    return HistogramFit(tuple(edges.tolist()), tuple(((right + 0.5) / (count + 1)).tolist()))


@dataclass(frozen=True)
class IsotonicFit(Fit):
    """A rising curve through points, with straight lines between them and constant beyond them."""

    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def predict(self, scores_ns: Floats) -> Floats:
        """Return the probability of a right answer, (n,)."""
        return np.interp(scores_ns[:, 0], self.scores, self.probabilities)


def fit_isotonic(scores_ns: Floats, labels_n: Ints) -> IsotonicFit:
    """Return the rising curve of the smallest squared error, as `sklearn.isotonic.IsotonicRegression`.

    Raises:
        BadInput: labels of one kind only.
    """
    scores_n = prepare_scores(scores_ns, labels_n)
    points, weight, mean = _merge_equal_scores(scores_n, labels_n)
    curve = isotonic_regression(mean, weights=weight).x
    # Points inside a flat piece say nothing.
    bend = np.r_[True, (curve[1:-1] != curve[:-2]) | (curve[1:-1] != curve[2:]), True][: len(curve)]
    return IsotonicFit(tuple(points[bend].tolist()), tuple(curve[bend].tolist()))


@dataclass(frozen=True)
class VennAbersFit(Fit):
    """Two probabilities for every place of the signal among those of the calibration answers.

    `lower` and `upper` are the isotonic values of a new answer that is called wrong and right, for the 2k + 1 places
    before, at and after each of the k different `scores`. One of the two is calibrated, whatever the distribution is.
    """

    scores: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def predict(self, scores_ns: Floats) -> Floats:
        """Return upper/(1 - lower + upper), the probability with the smallest regret in NLL, (n,)."""
        lower, upper = self.predict_interval(scores_ns)
        return upper / (1 - lower + upper)

    def predict_interval(self, scores_ns: Floats) -> tuple[Floats, Floats]:
        """Return both probabilities of a right answer, (n,) each."""
        points = np.array(self.scores)
        at = np.searchsorted(points, scores_ns[:, 0], side="left")
        place = 2 * at + (points[np.minimum(at, len(points) - 1)] == scores_ns[:, 0])
        return np.array(self.lower)[place], np.array(self.upper)[place]


def fit_venn_abers(scores_ns: Floats, labels_n: Ints) -> VennAbersFit:
    """Return the inductive Venn-Abers predictor. Source: Vovk and Petej 2014.

    Raises:
        BadInput: labels of one kind only.
    """
    scores_n = prepare_scores(scores_ns, labels_n)
    points, weight, mean = _merge_equal_scores(scores_n, labels_n)
    places = range(2 * len(points) + 1)
    lower, upper = ([_value_at_place(mean, weight, place, label) for place in places] for label in (0.0, 1.0))
    return VennAbersFit(tuple(points.tolist()), tuple(lower), tuple(upper))


def _value_at_place(mean: Floats, weight: Floats, place: int, label: float) -> float:
    """Return the isotonic value of one more answer with a label, between the points or (odd places) at one."""
    at = place // 2
    if place % 2:
        sums = mean * weight
        sums[at] += label
        weights = weight.copy()
        weights[at] += 1
        return float(isotonic_regression(sums / weights, weights=weights).x[at])
    return float(isotonic_regression(np.insert(mean, at, label), weights=np.insert(weight, at, 1.0)).x[at])


def _merge_equal_scores(scores_n: Floats, labels_n: Ints) -> tuple[Floats, Floats, Floats]:
    """Return the different scores in rising order, their number of answers and the share that is right."""
    points, index, count = np.unique(scores_n, return_inverse=True, return_counts=True)
    weight = count.astype(np.float64)
    return points, weight, np.bincount(index, labels_n) / weight
