r"""Two models under one bound of the error rate: the first answers, or else the second, or else nobody.

The route \((\lambda_1, \lambda_2)\) accepts the first model's answer from confidence \(\lambda_1\) on, else the second
model's from \(\lambda_2\) on. The error rate among accepted answers of both together is at most eps exactly if
\(E[A\,(W - \epsilon)] \le 0\), with A = 1 if an answer is accepted and W = 1 if it is wrong: one linear constraint on
an expectation (Wang et al. 2025, arXiv 2512.01556). Here it is tested at confidence 1 - delta, route by route in a
fixed sequence, as thresholds of one model are in `answer_selection`. The paper's own rule, which bounds the expectation
itself, is `meets_expectation`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.errors import BadInput
from heatbath.trust.calibration.answer_selection import (
    INDEPENDENCE,
    ErrorTarget,
    error_p_value,
    find_passed,
    list_thresholds,
    upper_error_bound,
)
from heatbath.trust.calibration.signal_table import Floats, Ints, validate_labels, validate_scores

NOBODY, FIRST, SECOND = 0, 1, 2


@dataclass(frozen=True)
class ModelAnswers:
    """The confidence of one model's answers, (n,), and their labels, (n,), to the same questions as the other's."""

    confidence: Floats
    labels: Ints

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", validate_labels(self.labels))
        object.__setattr__(self, "confidence", validate_scores(self.confidence, len(self.labels)))


@dataclass(frozen=True)
class Route:
    """The thresholds of both models; infinite for a model that is never accepted."""

    first: float
    second: float

    def choose_models(self, first_n: Floats, second_n: Floats) -> Ints:
        """Return 1 or 2 for the model whose answer is accepted, and 0 for none, (n,)."""
        return np.where(first_n >= self.first, FIRST, np.where(second_n >= self.second, SECOND, NOBODY))


@dataclass(frozen=True)
class RoutingGuarantee:
    """A route with its guarantee; the fields are as in `SelectionGuarantee`, over the answers of both models.

    `second_share` is the share of questions that the second model is asked.
    """

    route: Route | None
    target: ErrorTarget
    questions: int
    accepted: int
    wrong: int
    second_share: float
    error_bound: float
    assumption: str = INDEPENDENCE

    @property
    def coverage(self) -> float:
        """The share of questions with an accepted answer."""
        return self.accepted / self.questions


def choose_routes(first: ModelAnswers, second: ModelAnswers, target: ErrorTarget) -> list[Route]:
    """Return routes from strict to loose, from questions that the test does not use.

    Of all pairs of thresholds, those with the smallest p-value for each share of accepted questions, beginning with the
    smallest of all.
    """
    _require_equal_sizes(first, second)
    grids = [np.r_[np.inf, list_thresholds(one.confidence)] for one in (first, second)]
    routes = [Route(a, b) for a in grids[0].tolist() for b in grids[1].tolist()]
    counts = np.array([_count_route(route, first, second)[:2] for route in routes])
    p_k = error_p_value(counts[:, 1], counts[:, 0], target.max_error)
    size = len(first.labels)
    bands = np.minimum(counts[:, 0] * len(grids[0]) // size, len(grids[0]) - 1)
    found = []
    for band in np.unique(bands[counts[:, 0] > 0]).tolist():
        inside = np.flatnonzero((bands == band) & (counts[:, 0] > 0))
        found.append(int(inside[np.lexsort((-counts[inside, 0], p_k[inside]))[0]]))
    ordered = sorted(found, key=lambda k: int(counts[k, 0]))
    start = min(range(len(ordered)), key=lambda place: float(p_k[ordered[place]]), default=0)
    return [routes[k] for k in ordered[start:]]


def select_route(
    first: ModelAnswers, second: ModelAnswers, routes: list[Route], target: ErrorTarget | None = None
) -> RoutingGuarantee:
    """Choose the route of the largest coverage whose error rate is shown to be small enough.

    Args:
        first: answers of the model that is asked first.
        second: answers of the other model to the same questions, in the same order.
        routes: routes chosen without these questions, from strict to loose, as by `choose_routes`.
        target: the error rate and the confidence; 0.1 and 0.9.

    Raises:
        BadInput: fewer questions than the guarantee needs, different numbers of answers, or no routes.
    """
    target = target or ErrorTarget()
    _require_equal_sizes(first, second)
    if not routes:
        raise BadInput("`routes` is empty: give at least one pair of thresholds.")
    size = len(first.labels)
    target.require_questions(size)
    counts = np.array([_count_route(route, first, second) for route in routes])
    passed = find_passed(counts[:, 1], counts[:, 0], target)
    if not passed:
        return RoutingGuarantee(None, target, size, 0, 0, 0.0, float("nan"))
    best = max(passed, key=lambda k: int(counts[k, 0]))
    accepted, wrong, asked = map(int, counts[best])
    bound = upper_error_bound(wrong, accepted, target.confidence)
    return RoutingGuarantee(routes[best], target, size, accepted, wrong, asked / size, bound)


def meets_expectation(wrong: NDArray[np.int64], accepted: NDArray[np.int64], max_error: float) -> NDArray[np.bool_]:
    r"""Return true where counts meet the sufficient condition of the paper.

    It is \(\sum_i A_i (W_i - \epsilon) + 1 - \epsilon \le 0\), or (wrong + 1)/(accepted + 1) <= eps: the next
    question is counted as one more wrong answer. For one threshold, chosen before the questions were seen, it bounds
    the error rate in expectation over calibration sets. It says nothing of a single set, as `select_route` does.
    """
    return np.asarray((np.asarray(wrong) + 1) <= max_error * (np.asarray(accepted) + 1))


def _count_route(route: Route, first: ModelAnswers, second: ModelAnswers) -> tuple[int, int, int]:
    """Return the numbers of accepted answers, wrong ones among them, and questions for the second model."""
    model_n = route.choose_models(first.confidence, second.confidence)
    wrong_n = np.where(model_n == FIRST, first.labels == 0, second.labels == 0) & (model_n != NOBODY)
    return int((model_n != NOBODY).sum()), int(wrong_n.sum()), int((model_n != FIRST).sum())


def _require_equal_sizes(first: ModelAnswers, second: ModelAnswers) -> None:
    if len(first.labels) != len(second.labels):
        raise BadInput(
            f"both models must answer the same questions, got {len(first.labels)} and {len(second.labels)} answers."
        )
