"""Conformal sets of labels: coverage at its nominal rate in simulated splits, and their size."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heatbath.trust.calibration import find_conformal_bound
from heatbath.trust.decisions.decision_rule import score_right_labels, select_labels

SPLITS = 2000


def _simulate(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of 4 labels for `count` texts, and right labels that follow other ones: miscalibrated."""
    logits = rng.normal(0, 2, (count, 4))
    true = np.exp(0.4 * logits) / np.exp(0.4 * logits).sum(1, keepdims=True)
    answers = (rng.random((count, 1)) > true.cumsum(1)).sum(1).clip(max=3)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), answers


def _coverage(count: int, alpha: float, *, broken: bool = False) -> float:
    """The share of splits whose set holds the right label of one more text."""
    rng, covered = np.random.default_rng(11), 0
    probabilities, answers = _simulate(rng, SPLITS * (count + 1))
    for rows in np.arange(SPLITS * (count + 1)).reshape(SPLITS, count + 1):
        scores = score_right_labels(probabilities[rows[:-1]], answers[rows[:-1]])
        bound = find_conformal_bound(scores, alpha).bound
        if broken:
            bound = float(np.quantile(scores, 1 - alpha, method="inverted_cdf"))
        covered += int(answers[rows[-1]] in select_labels(probabilities[rows[-1]].tolist(), bound))
    return covered / SPLITS


@pytest.mark.parametrize(
    ("count", "alpha"), [(19, 0.2), *(pytest.param(*one, marks=pytest.mark.slow) for one in [(60, 0.1), (5, 0.1)])]
)
def test_sets_cover_at_their_rate(count: int, alpha: float) -> None:
    """The exact rate is rank / (n + 1); five standard errors are wrong once in two million runs."""
    rank = math.ceil((count + 1) * (1 - alpha) - 1e-9)
    expected = min(1.0, rank / (count + 1))
    margin = 5 * math.sqrt(expected * (1 - expected) / SPLITS)
    assert abs(_coverage(count, alpha) - expected) <= margin
    assert expected >= 1 - alpha - 1e-12


def test_the_usual_quantile_covers_too_little() -> None:
    """The negative control: the fourth of five scores covers two thirds, where three quarters are asked for."""
    assert _coverage(5, 0.25, broken=True) < 0.75 - 0.03


def test_sets_grow_as_the_error_rate_falls() -> None:
    probabilities, answers = _simulate(np.random.default_rng(2), 200)
    scores = score_right_labels(probabilities, answers)
    bounds = [find_conformal_bound(scores, alpha).bound for alpha in (0.5, 0.2, 0.05, 0.001)]
    sizes = [np.mean([len(select_labels(row, bound)) for row in probabilities.tolist()]) for bound in bounds]
    assert sizes == sorted(sizes) and sizes[-1] == 4
