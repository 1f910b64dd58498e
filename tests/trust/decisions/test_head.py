"""Heads against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from heatbath.trust.decisions.head import fit_head


@pytest.mark.parametrize("labels", [2, 4])
def test_a_head_is_a_logistic_regression_on_standardized_units(labels: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(labels)
    answers = np.arange(160) % labels
    hidden = rng.normal(size=(160, 12)) + 2 * rng.normal(size=(labels, 12))[answers] * [5.0] * 12
    hidden[:, 3] = 1.0
    head = fit_head(hidden, answers, [f"label {i}" for i in range(labels)])
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=head.strength, max_iter=2000))
    expected = pipeline.fit(hidden, answers).predict_proba(hidden)
    assert softmax(head.logits(hidden), axis=1) == pytest.approx(expected, abs=1e-4)
    assert head.probabilities(hidden) == pytest.approx(softmax(head.logits(hidden) / head.temperature, axis=1))


def test_the_temperature_of_a_head_is_for_texts_that_it_has_not_seen() -> None:
    """Units without any information: seen texts look sure, others are at chance, and so is the head."""
    rng = np.random.default_rng(0)
    hidden, answers = rng.normal(size=(120, 40)), np.arange(120) % 3
    head = fit_head(hidden, answers, ["a", "b", "c"])
    new, right = rng.normal(size=(2000, 40)), rng.integers(0, 3, 2000)
    loss = -np.log(head.probabilities(new)[np.arange(2000), right]).mean()
    assert loss == pytest.approx(np.log(3), abs=0.02)
    assert -log_softmax(head.logits(new), axis=1)[np.arange(2000), right].mean() >= loss - 1e-3
