r"""Conformal sets: answers of which one is accepted with a probability of at least 1 - alpha.

Every candidate answer has a score, larger for a worse one. The bound is the \(\lceil (n+1)(1-\alpha) \rceil\)-th
smallest score of the accepted answers of n calibration questions; the set holds all candidates up to it. The coverage
is that of a random question, not of every kind of question, and needs exchangeability alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from heatbath.errors import BadInput, format_value
from heatbath.trust.calibration.signal_table import Floats

EXCHANGEABILITY = "The calibration questions and those to come are exchangeable, as if shuffled together."


@dataclass(frozen=True)
class ConformalBound:
    """The bound of the scores in a set.

    Attributes:
        alpha: the probability that no answer of a set is accepted is at most this.
        bound: candidates of at most this score are in the set; infinite where no finite one keeps the promise.
        questions: number of calibration questions.
        assumption: what the guarantee rests on.
    """

    alpha: float
    bound: float
    questions: int
    assumption: str = EXCHANGEABILITY

    def select(self, scores: Mapping[str, float]) -> list[str] | None:
        """Return the candidates in the set, best first; None stands for every possible answer, with no finite bound."""
        if math.isinf(self.bound):
            return None
        return sorted((one for one, score in scores.items() if score <= self.bound), key=lambda one: scores[one])


def count_needed_questions(alpha: float) -> int:
    """Return the smallest number of calibration questions with a finite bound.

    Raises:
        BadInput: alpha outside (0, 1).
    """
    exact = parse_alpha(alpha)
    return math.ceil((1 - exact) / exact)


def find_conformal_bound(scores_n: ArrayLike, alpha: float = 0.1) -> ConformalBound:
    """Return the bound from the score of the best accepted answer of each calibration question, (n,).

    The score of a question whose accepted answers are no candidates is infinite. With fewer than 1/alpha - 1 questions,
    or with too many infinite scores, the bound is infinite.

    Raises:
        BadInput: alpha outside (0, 1), no questions, or a score that is NaN.
    """
    exact, scores = parse_alpha(alpha), np.asarray(scores_n, np.float64)
    if scores.ndim != 1 or not scores.size or np.isnan(scores).any():
        raise BadInput(f"expected one score per question and no NaN, got an array of shape {scores.shape}.")
    rank = math.ceil((len(scores) + 1) * (1 - exact))
    bound = float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf
    return ConformalBound(float(alpha), bound, len(scores))


def score_answers(frequencies: Mapping[str, float]) -> dict[str, float]:
    """Return a score for each answer from its frequency or probability: the mass of all answers above it.

    The best answer has the score 0. Answers of equal frequency share a score.
    """
    return {one: sum(mass for mass in frequencies.values() if mass > own) for one, own in frequencies.items()}


def score_accepted(scores: Mapping[str, float], accepted: Sequence[str]) -> float:
    """Return the score of the best accepted answer; infinite if no candidate is accepted."""
    return min((scores[one] for one in accepted if one in scores), default=math.inf)


def measure_coverage(scores_n: Floats, bound: ConformalBound) -> float:
    """Return the share of questions whose set holds an accepted answer."""
    return float(np.mean(scores_n <= bound.bound))


def parse_alpha(alpha: float) -> Fraction:
    """Return an error rate as the decimal fraction that is written, so that rounding moves no rank.

    Raises:
        BadInput: alpha outside (0, 1).
    """
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise BadInput(f"`alpha` must be in (0, 1), got {format_value(alpha)}.", param="alpha")
    return Fraction(repr(float(alpha)))
