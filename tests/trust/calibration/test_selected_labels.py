"""Estimates from labels of answers that a rule or chance picked, against exact simulation of the picking."""

from __future__ import annotations

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.trust.calibration.reliability import calibration_error
from heatbath.trust.calibration.selected_labels import estimate_accuracy, estimate_calibration_error

# Four kinds of answers: their share, confidence, probability of being right, and whether a rule sends them. The rule
# picks answers that are wrong more often than their confidence says.
SHARE = np.array([0.45, 0.25, 0.2, 0.1])
CONFIDENCE = np.array([0.95, 0.65, 0.85, 0.35])
RIGHT = np.array([0.85, 0.80, 0.40, 0.10])
SENT = np.array([False, False, True, True])
RANDOM_SHARE = 0.1
ACCURACY = float(SHARE @ RIGHT)
ERROR = float(SHARE @ np.abs(CONFIDENCE - RIGHT))
ANSWERS, REPLICAS = 3000, 1500


def _replicas() -> np.ndarray:
    """Estimates of replicas: accuracy, its error, ECE, its error, and both without a correction, (R, 6)."""
    rng = np.random.default_rng(20261129)
    found = []
    for _ in range(REPLICAS):
        kind = rng.choice(4, ANSWERS, p=SHARE)
        selection = np.where(SENT[kind], 1.0, RANDOM_SHARE)
        picked = rng.random(ANSWERS) < selection
        kind, selection = kind[picked], selection[picked]
        right = (rng.random(len(kind)) < RIGHT[kind]).astype(int)
        accuracy = estimate_accuracy(right, selection)
        error = estimate_calibration_error(CONFIDENCE[kind], right, selection)
        plain = (right.mean(), calibration_error(CONFIDENCE[kind], right))
        found.append((accuracy.value, accuracy.stderr, error.value, error.stderr, *plain))
    return np.array(found)


def test_the_correction_removes_the_bias_of_selection() -> None:
    """Means of 1500 replicas within 4 standard errors of the truth (6e-5 each), and the plain ones far outside."""
    accuracy, accuracy_error, error, error_error, plain_accuracy, plain_error = _replicas().T
    for values, truth in ((accuracy, ACCURACY), (error, ERROR)):
        assert abs(values.mean() - truth) < 4.0 * values.std() / REPLICAS**0.5
    for values, truth in ((plain_accuracy, ACCURACY), (plain_error, ERROR)):
        assert abs(values.mean() - truth) > 100.0 * values.std() / REPLICAS**0.5
    for values, stderr, truth in ((accuracy, accuracy_error, ACCURACY), (error, error_error, ERROR)):
        # The coverage of 95 % intervals, within 4 standard errors of its own and 1 % for what is not linear.
        covered = np.mean(np.abs(values - truth) < 1.96 * stderr)
        assert abs(covered - 0.95) < 0.01 + 4.0 * (0.95 * 0.05 / REPLICAS) ** 0.5
        assert stderr.mean() == pytest.approx(values.std(), rel=0.08)


def test_equal_probabilities_change_nothing() -> None:
    rng = np.random.default_rng(1)
    confidence, right = rng.random(200), rng.integers(0, 2, 200)
    for selection in (np.ones(200), np.full(200, 0.3)):
        accuracy = estimate_accuracy(right, selection)
        assert accuracy.value == pytest.approx(right.mean()) and accuracy.ess == pytest.approx(200)
        assert accuracy.stderr == pytest.approx(right.std() / 200**0.5)
        error = estimate_calibration_error(confidence, right, selection)
        assert error.value == pytest.approx(calibration_error(confidence, right))


def test_few_labels_of_the_random_share_count_for_few() -> None:
    assert estimate_accuracy([1] * 99 + [0], [1.0] * 99 + [0.01]).ess == pytest.approx(199**2 / (99 + 100**2))


@pytest.mark.parametrize(("labels", "selection"), [([], []), ([1], [0.0]), ([1], [1.5]), ([1, 0], [1.0]), ([2], [1.0])])
def test_what_cannot_be_estimated(labels: list[int], selection: list[float]) -> None:
    with pytest.raises(BadInput):
        estimate_accuracy(labels, selection)
