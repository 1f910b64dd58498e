"""The type of every fit: a map from signals of an answer to the probability that it is right."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from heatbath.errors import BadInput, MissingExtra
from heatbath.trust.calibration.signal_table import Floats, Ints, validate_both_labels

PROBABILITY, LOG_PROBABILITY = "probability", "log-probability"
ROUNDING = 1e-9
"""A probability this far outside its interval is one at the end of it, computed with rounding."""


class Fit(ABC):
    """A fitted map; a frozen dataclass of numbers, so that a calibrator file can hold it.

    Scores are signals whose larger values mean right answers, (n, s); all but one kind of fit take one signal.
    """

    @abstractmethod
    def predict(self, scores_ns: Floats) -> Floats:
        """Return the probability of a right answer, (n,)."""


def prepare_scores(scores_ns: Floats, labels_n: Ints) -> Floats:
    """Return the only signal of a fit, (n,).

    Raises:
        BadInput: there are several signals, or labels of one kind only.
    """
    validate_both_labels(labels_n, "a fit")
    if scores_ns.ndim != 2 or scores_ns.shape[1] != 1 or len(scores_ns) != len(labels_n):
        raise BadInput(f"expected scores of the shape ({len(labels_n)}, 1), got {scores_ns.shape}.")
    return scores_ns[:, 0]


def find_domain(scores_n: Floats) -> str | None:
    """Return the kind of probability that scores are, inside its open interval; None for other scores."""
    if ((scores_n > 0) & (scores_n < 1)).all():
        return PROBABILITY
    return LOG_PROBABILITY if (scores_n < 0).all() else None


def require_domain(scores_n: Floats, fit: str) -> str:
    """Return the kind of probability that scores are.

    Raises:
        BadInput: they are neither probabilities inside (0, 1) nor log-probabilities below 0.
    """
    domain = find_domain(scores_n)
    if domain is None:
        raise BadInput(
            f"the fit {fit} needs probabilities inside (0, 1) or log-probabilities below 0, got scores from "
            f"{scores_n.min():g} to {scores_n.max():g}: choose another fit, such as platt."
        )
    return domain


def log_odds_terms(scores_n: Floats, domain: str) -> tuple[Floats, Floats]:
    """Return ln p and ln(1 - p) of scores, exact for p near 0 and near 1.

    Raises:
        BadInput: a score lies outside the closed interval of its domain.
    """
    low, high = (0.0, 1.0) if domain == PROBABILITY else (-np.inf, 0.0)
    inside = (scores_n >= low - ROUNDING) & (scores_n <= high + ROUNDING)
    if not inside.all():
        raise BadInput(f"a {domain} must be in [{low:g}, {high:g}], got {scores_n[~inside][0]:g}.")
    scores_n = np.clip(scores_n, low, high)
    with np.errstate(divide="ignore"):
        if domain == PROBABILITY:
            return np.log(scores_n), np.log1p(-scores_n)
        # ln(1 - e^x) by the form that keeps its digits on either side of p = 1/2.
        return scores_n, np.where(scores_n > -np.log(2), np.log(-np.expm1(scores_n)), np.log1p(-np.exp(scores_n)))


def fit_logistic_regression(
    features_ns: Floats, targets_n: Floats, strength: float = np.inf
) -> tuple[tuple[float, ...], float]:
    """Return coefficients (s,) and intercept of a logistic regression on targets in [0, 1].

    `strength` is the inverse of an L2 penalty on the coefficients of standardised features; infinite for none.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtra("this fit", "trust") from error
    mean_s, scale_s = features_ns.mean(0), features_ns.std(0)
    scale_s = np.where(scale_s > 0, scale_s, 1.0)
    standard_ns = (features_ns - mean_s) / scale_s
    # A target between 0 and 1 is a row of each label, with weights.
    model = LogisticRegression(C=strength, tol=1e-8, max_iter=1000)
    model.fit(
        np.vstack([standard_ns, standard_ns]),
        np.repeat([1, 0], len(targets_n)),
        sample_weight=np.concatenate([targets_n, 1 - targets_n]),
    )
    slope_s = model.coef_[0] / scale_s
    return tuple(slope_s.tolist()), float(model.intercept_[0] - slope_s @ mean_s)
