r"""The threshold of confidence that keeps the error rate among answered questions below a bound.

With \(n_\lambda\) of the questions answered at a threshold \(\lambda\) and \(k_\lambda\) of these wrong, the p-value
of "the error rate is above eps" is \(P(\mathrm{Bin}(n_\lambda, \epsilon) \le k_\lambda)\). It is at most delta exactly
if the upper Clopper-Pearson bound of the error rate at confidence 1 - delta is at most eps.

* A fixed sequence tests thresholds from the strictest to the loosest, each at delta, and stops at the first that
  fails. Where it starts depends on how many questions are answered, and never on which are right.
* Learn-then-Test (Angelopoulos et al. 2021) tests all thresholds at once, at delta corrected by Holm's rule.

Either way the probability that a threshold with an error rate above eps is chosen is at most delta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr, betaincinv

from heatbath.errors import BadInput
from heatbath.trust.calibration.signal_ranking import adjust_p_values
from heatbath.trust.calibration.signal_table import Floats, Ints, validate_labels, validate_scores

FIXED_SEQUENCE, LEARN_THEN_TEST = "fixed sequence", "learn then test"
NUM_THRESHOLDS = 20
INDEPENDENCE = (
    "The questions are independent draws from the same distribution as those to come, and signal, fit and thresholds "
    "were chosen without them."
)
"""The assumption of both rules: the binomial distribution needs independence, exchangeability alone is not enough."""


@dataclass(frozen=True)
class SelectionGuarantee:
    """A threshold with its guarantee.

    Attributes:
        rule: "fixed sequence" or "learn then test".
        max_error: eps, the bound of the error rate among answered questions.
        confidence: 1 - delta, the confidence of the bound over draws of the calibration questions.
        threshold: questions of at least this confidence are answered; None if no threshold passed, and none is.
        questions: how many questions the test used.
        answered: how many of them are answered at the threshold.
        wrong: how many of these are wrong.
        error_bound: the upper Clopper-Pearson bound of the error rate at the threshold; NaN if none is answered.
        assumption: what the guarantee rests on.
    """

    rule: str
    max_error: float
    confidence: float
    threshold: float | None
    questions: int
    answered: int
    wrong: int
    error_bound: float
    assumption: str = INDEPENDENCE

    @property
    def coverage(self) -> float:
        """The share of questions that are answered."""
        return self.answered / self.questions

    def __str__(self) -> str:
        if self.threshold is None:
            return (
                f"no threshold keeps the error rate among answered questions at or below {self.max_error:g} with "
                f"confidence {self.confidence:g}, so that none is answered"
            )
        return (
            f"answering from confidence {self.threshold:.3f} on, {self.coverage:.1%} of the questions, the error rate "
            f"among answered ones is at most {self.max_error:g} with confidence {self.confidence:g} "
            f"({self.wrong} of {self.answered} wrong)"
        )


@dataclass(frozen=True)
class ErrorTarget:
    """The wish for a guarantee: an error rate of at most `max_error` with this confidence, tested by a rule."""

    max_error: float = 0.1
    confidence: float = 0.9
    rule: str = FIXED_SEQUENCE

    def __post_init__(self) -> None:
        for name, value in (("max_error", self.max_error), ("confidence", self.confidence)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
                raise BadInput(f"`{name}` must be in (0, 1), got {value!r}.", param=name)
        if self.rule not in (FIXED_SEQUENCE, LEARN_THEN_TEST):
            rules = f"{FIXED_SEQUENCE!r} or {LEARN_THEN_TEST!r}"
            raise BadInput(f"`rule` must be {rules}, got {self.rule!r}.", param="rule")

    @property
    def needed_answers(self) -> int:
        """The smallest number of answered questions that can show the error rate, if none of them is wrong."""
        return max(1, math.ceil(math.log1p(-self.confidence) / math.log1p(-self.max_error) - 1e-9))

    def require_questions(self, questions: int) -> None:
        """Check that there are as many questions as are needed at least.

        Raises:
            BadInput: there are fewer; the message says how many are needed.
        """
        if questions < self.needed_answers:
            raise BadInput(
                f"an error rate of at most {self.max_error:g} with confidence {self.confidence:g} needs at least "
                f"{self.needed_answers} questions for the test, even if none is wrong, got {questions}: "
                "give more, or ask for a weaker guarantee."
            )


def upper_error_bound(wrong: int, answered: int, confidence: float) -> float:
    """Return the upper Clopper-Pearson bound of an error rate; NaN without an answer."""
    if not answered:
        return math.nan
    return 1.0 if wrong == answered else float(betaincinv(wrong + 1, answered - wrong, confidence))


def error_p_value(wrong: ArrayLike, answered: ArrayLike, max_error: float) -> Floats:
    """Return the p-value of "the error rate is above `max_error`" for each pair of counts; 1 without an answer."""
    wrong_k, answered_k = np.asarray(wrong), np.asarray(answered)
    return np.where(answered_k > 0, bdtr(wrong_k, np.maximum(answered_k, 1), max_error), 1.0)


def list_thresholds(confidence_n: Floats) -> Floats:
    """Return quantiles of the confidence of answers, from strict to loose."""
    levels = 1 - np.arange(1, NUM_THRESHOLDS + 1) / NUM_THRESHOLDS
    return np.unique(np.quantile(confidence_n, levels, method="lower"))[::-1]


def choose_thresholds(confidence_n: Floats, labels_n: Ints, max_error: float) -> Floats:
    """Return thresholds from strict to loose, from answers that the test does not use.

    They are quantiles of the confidence, beginning with the one that these answers speak for the most: a sequence that
    begins with a stricter one has fewer answers for its first test, and may end there.
    """
    threshold_k = list_thresholds(confidence_n)
    answered_kn = confidence_n >= threshold_k[:, None]
    p_k = error_p_value((answered_kn & (labels_n == 0)).sum(1), answered_kn.sum(1), max_error)
    return threshold_k[int(np.argmin(p_k)) :]


def select_answers(
    confidence_n: ArrayLike, labels: ArrayLike, *, thresholds: ArrayLike, target: ErrorTarget | None = None
) -> SelectionGuarantee:
    """Choose the loosest threshold whose error rate among answered questions is shown to be small enough.

    Args:
        confidence_n: the confidence of each answer, (n,); any score whose larger values mean right answers will do.
        labels: 1 for right and 0 for wrong, (n,), of questions that chose neither the signal nor the fit.
        thresholds: thresholds chosen without these answers, as by `choose_thresholds`.
        target: the error rate and the confidence; 0.1 and 0.9.

    Raises:
        BadInput: fewer questions than the guarantee needs, a label that is not 0 or 1, a score that is not finite,
            or no thresholds.
    """
    target = target or ErrorTarget()
    labels_n = validate_labels(labels)
    scores_n = validate_scores(confidence_n, len(labels_n))
    threshold_k = np.unique(np.asarray(thresholds, np.float64))[::-1]
    if not threshold_k.size or not np.isfinite(threshold_k).all():
        raise BadInput(f"`thresholds` must be finite numbers, at least one, got {threshold_k.tolist()}.")
    target.require_questions(len(labels_n))
    answered_kn = scores_n >= threshold_k[:, None]
    answered_k, wrong_k = answered_kn.sum(1), (answered_kn & (labels_n == 0)).sum(1)
    passed = find_passed(wrong_k, answered_k, target)
    best = passed[-1] if passed else None
    answered, wrong = (0, 0) if best is None else (int(answered_k[best]), int(wrong_k[best]))
    return SelectionGuarantee(
        target.rule,
        target.max_error,
        target.confidence,
        None if best is None else float(threshold_k[best]),
        len(labels_n),
        answered,
        wrong,
        upper_error_bound(wrong, answered, target.confidence),
    )


def find_passed(wrong_k: Ints, answered_k: Ints, target: ErrorTarget) -> list[int]:
    """Return the tests that pass, in their order; those without an answer are left out."""
    p_k = error_p_value(wrong_k, answered_k, target.max_error)
    if target.rule == FIXED_SEQUENCE:
        return _walk_sequence(p_k, answered_k, target)
    return [k for k, p in enumerate(adjust_p_values(p_k.tolist())) if p <= 1 - target.confidence]


def _walk_sequence(p_k: Floats, answered_k: Ints, target: ErrorTarget) -> list[int]:
    """Return the tests before the first that fails.

    It starts at the first threshold that answers as many questions as are needed, or else at the loosest.
    """
    enough = np.flatnonzero(answered_k >= target.needed_answers)
    start = int(enough[0]) if len(enough) else len(p_k) - 1
    failed = np.flatnonzero(p_k[start:] > 1 - target.confidence)
    return list(range(start, start + int(failed[0]) if len(failed) else len(p_k)))
