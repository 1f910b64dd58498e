"""Conformal sets: the quantile, and coverage at its nominal rate in simulated splits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.trust.decisions.conformal_sets import (
    conformal_threshold,
    min_held_out,
    nonconformity_scores,
    select_labels,
)

SPLITS = 2000


@pytest.mark.parametrize(
    ("count", "alpha", "rank"),
    [
        (19, 0.1, 18),
        (99, 0.1, 90),
        (19, 0.05, 19),
        (18, 0.05, None),
        (6, 0.1, None),
        (8, 0.1, None),
        (9, 0.1, 9),
        (0, 0.5, None),
    ],
)
def test_quantile(count: int, alpha: float, rank: int | None) -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1, count + 1) / 1000).tolist()
    assert conformal_threshold(scores, alpha) == (math.inf if rank is None else rank / 1000)
    assert math.isfinite(conformal_threshold(scores, alpha)) == (count >= min_held_out(alpha))


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.1, 0.05, 0.01, 1 / 3, 0.3, 0.999])
def test_the_least_number_of_held_out_texts_is_the_first_that_bounds(alpha: float) -> None:
    least = min_held_out(alpha)
    assert math.isfinite(conformal_threshold([0.5] * least, alpha))
    assert least == 1 or conformal_threshold([0.5] * (least - 1), alpha) == math.inf


def _simulate(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of 4 labels for `count` texts, and right labels that follow other ones: miscalibrated."""
    logits = rng.normal(0, 2, (count, 4))
    true = np.exp(0.4 * logits) / np.exp(0.4 * logits).sum(1, keepdims=True)
    answers = (rng.random((count, 1)) > true.cumsum(1)).sum(1).clip(max=3)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), answers


def _coverage(count: int, alpha: float, *, broken: bool = False) -> float:
    """The share of splits whose set holds the right label of one more text."""
    rng, covered = np.random.default_rng(11), 0
    for _ in range(SPLITS):
        probabilities, answers = _simulate(rng, count + 1)
        scores = nonconformity_scores(probabilities[:-1], answers[:-1])
        threshold = conformal_threshold(scores, alpha)
        if broken:
            threshold = float(np.quantile(scores, 1 - alpha, method="inverted_cdf"))
        covered += int(answers[-1] in select_labels(probabilities[-1].tolist(), threshold))
    return covered / SPLITS


@pytest.mark.parametrize(("count", "alpha"), [(9, 0.1), (19, 0.2), (60, 0.1), (5, 0.1)])
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
    rng = np.random.default_rng(2)
    probabilities, answers = _simulate(rng, 200)
    scores = nonconformity_scores(probabilities, answers)
    sizes = [
        np.mean([len(select_labels(row, conformal_threshold(scores, alpha))) for row in probabilities.tolist()])
        for alpha in (0.5, 0.2, 0.05, 0.001)
    ]
    assert sizes == sorted(sizes) and sizes[-1] == 4


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, float("nan"), True, "0.1", None])
def test_error_rates_are_checked(alpha: object) -> None:
    with pytest.raises(BadInput, match="`alpha` must be between 0 and 1"):
        conformal_threshold([0.1], alpha)  # type: ignore[arg-type]
