"""A head: a linear classifier from the last hidden state after a prompt to the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from heatbath.errors import BadInput, MissingExtra
from heatbath.trust.decisions.levels import MIN_LABELED, MIN_PER_LABEL, fit_temperature, label_probabilities

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
"""Inverse strengths of the L2 penalty that cross-validation chooses from."""
_MAX_ITERATIONS = 2000


@dataclass(frozen=True)
class LabelHead:
    """A fitted head.

    Attributes:
        mean: mean of each hidden unit, (D,), and `scale` its standard deviation.
        weights: weight of each standardized unit for each label, (K, D), and `intercepts` (K,).
        temperature: divides the logits; fitted to predictions for texts that the classifier had not seen.
        strength: inverse strength of the penalty, chosen by cross-validation.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    intercepts: Floats
    temperature: float
    strength: float

    def logits(self, hidden: Floats) -> Floats:
        """Return the logits of hidden states (n, D) before the temperature, (n, K)."""
        return np.asarray((hidden - self.mean) / self.scale @ self.weights.T + self.intercepts)

    def probabilities(self, hidden: Floats) -> Floats:
        """Return the probabilities of the labels, (n, K)."""
        return label_probabilities(self.logits(hidden), temperature=self.temperature)


def fit_head(hidden: Floats, answers: Ints, labels: Sequence[str]) -> LabelHead:
    """Fit a head to the hidden states (n, D) of labeled texts.

    The penalty is the one with the greatest likelihood in five-fold cross-validation; its out-of-fold logits give the
    temperature.

    Raises:
        BadInput: fewer texts than a head needs, in all or of some label.
        MissingExtra: scikit-learn is not installed.
    """
    _validate_counts(answers, labels)
    mean, scale = hidden.mean(0), hidden.std(0)
    scale[scale == 0] = 1.0
    inputs = (hidden - mean) / scale
    logits = {strength: _cross_validate(inputs, answers, strength) for strength in _STRENGTHS}
    best = min(_STRENGTHS, key=lambda strength: _negative_log_likelihood(logits[strength], answers))
    classifier = _build_classifier(best).fit(inputs, answers)
    weights, intercepts = classifier.coef_, classifier.intercept_
    if len(labels) == 2:  # one logit, of the second label against the first
        weights, intercepts = np.concatenate([0 * weights, weights]), np.concatenate([0 * intercepts, intercepts])
    temperature = fit_temperature(logits[best], answers, what="a head")
    return LabelHead(mean, scale, weights, intercepts, temperature, best)


def _validate_counts(answers: Ints, labels: Sequence[str]) -> None:
    needed = MIN_LABELED["head"]
    if len(answers) < needed:
        raise BadInput(f"a head needs {needed} labeled texts, got {len(answers)}: give {needed - len(answers)} more.")
    for label, count in zip(labels, np.bincount(answers, minlength=len(labels)).tolist(), strict=True):
        if count < MIN_PER_LABEL:
            missing = MIN_PER_LABEL - count
            raise BadInput(
                f"a head needs {MIN_PER_LABEL} texts of each label, got {count} of {label!r}: give {missing} more."
            )


def _cross_validate(inputs: Floats, answers: Ints, strength: float) -> Floats:
    """Return out-of-fold logits, (n, K)."""
    from sklearn.model_selection import StratifiedKFold

    logits = np.zeros((len(answers), int(answers.max()) + 1))
    for seen, unseen in StratifiedKFold(5, shuffle=True, random_state=0).split(inputs, answers):
        found: Any = _build_classifier(strength).fit(inputs[seen], answers[seen]).decision_function(inputs[unseen])
        if found.ndim == 1:
            logits[unseen, 1] = found
        else:
            logits[unseen] = found
    return logits


def _build_classifier(strength: float) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtra("the level head", "trust") from None
    return LogisticRegression(C=strength, max_iter=_MAX_ITERATIONS)


def _negative_log_likelihood(logits: Floats, answers: Ints) -> float:
    return -float(log_softmax(logits, axis=1)[np.arange(len(answers)), answers].mean())
