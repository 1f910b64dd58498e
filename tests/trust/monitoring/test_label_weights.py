"""Labels of answers that a rule picks: with their weights a fair bet on all answers, without them none.

All answers say 0.7. Half of them, which the rule sends, are right with 0.5, the others with 0.9 and sent at random with
a probability of 0.25: the confidence is calibrated, and that of the labels is not.
"""

from __future__ import annotations

import numpy as np
import pytest

from heatbath.trust.monitoring import CalibrationMonitor, label_factors

CONFIDENCE, RANDOM_SHARE = 0.7, 0.25
RIGHT = {True: 0.5, False: 0.9}


def _mean_factor(*, weighted: bool) -> np.ndarray:
    """The mean factor of each bet over all answers, exactly; an answer without a label has the factor 1."""
    wrong, right = label_factors(np.array([CONFIDENCE] * 2), np.array([0, 1]))
    total = np.zeros_like(right)
    for is_sent, chance in RIGHT.items():
        selection = 1.0 if is_sent else RANDOM_SHARE
        weight = RANDOM_SHARE / selection if weighted else 1.0
        factor = chance * right + (1.0 - chance) * wrong
        total += 0.5 * (1.0 + selection * weight * (factor - 1.0))
    return total


def test_weighted_bets_are_fair_whatever_picks_the_answers() -> None:
    assert _mean_factor(weighted=True) == pytest.approx(1.0)
    assert _mean_factor(weighted=False).max() > 1.05


@pytest.mark.parametrize("weighted", [True, False])
def test_the_monitor_takes_no_alarm_from_selection(weighted: bool) -> None:
    """A false alarm of the weighted one has a probability of at most 1e-4."""
    rng, monitor = np.random.default_rng(3), CalibrationMonitor(alpha=1e-4)
    for k in range(2000):
        is_sent = bool(rng.random() < 0.5)
        is_right = bool(rng.random() < RIGHT[is_sent])
        selection = 1.0 if is_sent else RANDOM_SHARE
        if rng.random() < selection:
            weight = RANDOM_SHARE / selection if weighted else 1.0
            monitor.add_label(str(k), 0, CONFIDENCE, is_right=is_right, weight=weight)
    assert monitor.is_stale is not weighted
    share = next(each["share"] for each in monitor.describe()["reliability"] if each["count"])
    assert bool(abs(share - 0.7) < 0.06) is weighted


def test_a_label_that_is_replaced_takes_its_weight_along() -> None:
    twice, once = CalibrationMonitor(), CalibrationMonitor()
    twice.add_label("a", 0, 0.3, is_right=True, weight=0.1)
    for monitor in (twice, once):
        monitor.add_label("a", 0, 0.3, is_right=False, weight=0.5)
        monitor.add_label("b", 0, 0.9, is_right=True, weight=0.0)
    assert twice.evidence == pytest.approx(once.evidence)
    assert twice.describe()["reliability"] == once.describe()["reliability"]
