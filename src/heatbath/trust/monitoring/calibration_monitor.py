"""The monitor of a calibration in use: what it has seen, and whether it still holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from heatbath.estimate.proportion import error_interval
from heatbath.trust.monitoring.martingales import LABEL_BETS, BettingMixture, label_factors
from heatbath.trust.monitoring.rank_test import RankTest

ALPHA = 0.01
"""The probability of a false alarm of each of the two tests, over their whole life."""

NUM_BINS = 10
MIN_SAMPLE = 20
"""Fewer confidences of the calibration than this are no distribution to compare with."""


class CalibrationMonitor:
    """Tests of a calibration on what happens: labels of answers, and the distribution of their confidence.

    An alarm comes when the capital of a test reaches 1/alpha, and stays. Labels of a calibrated confidence, and
    confidences from the distribution of the calibration, raise one with a probability of at most alpha each.

    Args:
        sample: confidences of answers of the calibration that neither chose nor fitted anything; without at least
            `MIN_SAMPLE` of them there is no test of the distribution.
        alpha: the probability of a false alarm of each test.
        seed: of the random numbers that break ties between confidences.
    """

    def __init__(self, sample: Sequence[float] = (), *, alpha: float = ALPHA, seed: int = 0) -> None:
        self.alpha = alpha
        self._sample_n = np.asarray(sample, np.float64)
        self._ranks = RankTest(sample, seed=seed) if len(sample) >= MIN_SAMPLE else None
        self._capital = BettingMixture(len(LABEL_BETS))
        # One label of each answer is tested, the first that came: choices of one prompt are not independent.
        self._tested: dict[str, int] = {}
        self._labels: dict[tuple[str, int], tuple[float, bool, float]] = {}
        self._confidences = np.zeros(NUM_BINS, np.int64)
        self._reliability = np.zeros((5, NUM_BINS))

    @property
    def num_labels(self) -> int:
        """The number of labels so far."""
        return len(self._labels)

    @property
    def is_stale(self) -> bool:
        """True once a test has raised an alarm: the calibration does not hold any more."""
        return bool(self.reasons)

    @property
    def reasons(self) -> list[str]:
        """The alarms, one sentence each."""
        found, limit = [], self._log_limit
        if self._capital.log_peak >= limit:
            found.append(f"the labels of {len(self._tested)} answers contradict their confidence")
        if self._ranks is not None and self._ranks.capital.log_peak >= limit:
            found.append("the confidence of answers is distributed otherwise than in the calibration")
        return found

    @property
    def evidence(self) -> dict[str, float]:
        """The evidence of each test as a share of what raises an alarm, by the name of what it looks at; 0 is none."""
        tests = {"labels": self._capital, "distribution": None if self._ranks is None else self._ranks.capital}
        return {name: test.log_peak / self._log_limit for name, test in tests.items() if test is not None}

    def add_confidence(self, confidence: float) -> None:
        """Take the confidence of one more answer, for the test of its distribution."""
        self._confidences[_find_bin(confidence)] += 1
        if self._ranks is not None:
            self._ranks.add(confidence)

    def add_label(self, answer: str, choice: int, confidence: float, *, is_right: bool, weight: float = 1.0) -> None:
        """Take a label of a choice of an answer; a second one of the same choice replaces the first.

        `weight`, in [0, 1], is the stake of the label. Where answers are picked for labels with different
        probabilities, a weight proportional to 1/probability makes a fair bet on all answers, picked or not; 0 leaves
        a label out, as of answers that a rule picked where no others are.
        """
        earlier, label = self._labels.get((answer, choice)), (confidence, is_right, weight)
        if earlier == label:
            return
        self._labels[answer, choice] = label
        if earlier is not None:
            self._count_label(earlier, -1)
        self._count_label(label, 1)
        if self._tested.setdefault(answer, choice) != choice:
            return
        if earlier is None:
            self._capital.update(1.0 + weight * (label_factors(confidence, is_right) - 1.0))
        else:
            self._test_again()

    def describe(self) -> dict[str, Any]:
        """Return what was seen and found, ready for JSON."""
        number, number_right, count, right, total = self._reliability
        low, high = error_interval(right, np.maximum(count, 1.0))
        bins = [
            {
                "count": int(number[i]),
                "right": int(number_right[i]),
                "confidence": total[i] / count[i] if count[i] > 0.0 else None,
                "share": right[i] / count[i] if count[i] > 0.0 else None,
                "interval": [float(low[i]), float(high[i])] if count[i] > 0.0 else None,
            }
            for i in range(NUM_BINS)
        ]
        return {
            "alpha": self.alpha,
            "stale": self.is_stale,
            "reasons": self.reasons,
            "labels": {"count": len(self._labels), "tested": len(self._tested), **self._describe_test(self._capital)},
            "distribution": {
                "counts": self._confidences.tolist(),
                "sample": np.bincount(_find_bins(self._sample_n), minlength=NUM_BINS).tolist(),
                **self._describe_test(None if self._ranks is None else self._ranks.capital),
            },
            "reliability": bins,
        }

    @property
    def _log_limit(self) -> float:
        return -math.log(self.alpha)

    def _describe_test(self, test: BettingMixture | None) -> dict[str, Any]:
        """Return the evidence now and at its peak, as shares of what raises an alarm; None without a test."""
        if test is None:
            return {"evidence": None, "peak": None}
        limit = self._log_limit
        return {"evidence": max(0.0, test.log_capital) / limit, "peak": test.log_peak / limit}

    def _count_label(self, label: tuple[float, bool, float], sign: int) -> None:
        confidence, is_right, weight = label
        row = np.array([1.0, is_right, weight, weight * is_right, weight * confidence])
        self._reliability[:, _find_bin(confidence)] += sign * row

    def _test_again(self) -> None:
        """Compute the capital anew, after a label that was tested has changed."""
        labels = [self._labels[answer, choice] for answer, choice in self._tested.items()]
        confidence_n, right_n, weight_n = np.array(labels, np.float64).T
        factors = label_factors(confidence_n, right_n)
        self._capital = BettingMixture.from_factors(1.0 + weight_n[:, None] * (factors - 1.0))


def _find_bins(confidence_n: np.ndarray) -> np.ndarray:
    """Return bins of equal width, [0, 0.1) to [0.9, 1]."""
    return np.minimum((confidence_n * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def _find_bin(confidence: float) -> int:
    return min(int(confidence * NUM_BINS), NUM_BINS - 1)
