r"""Accuracy and calibration error of all answers, from labels of answers that were picked with known probabilities.

Answers that a rule sends to a reviewer are not like the others, so that a plain mean over their labels is not that of
all answers, however many labels there are. If every answer is picked with a probability \(\pi_i > 0\) that is known,
weights \(1/\pi_i\) make up for it, whatever the probability depends on: the sums are unbiased (Horvitz and Thompson
1952), and their ratios are consistent, with a bias of order 1/n (Hájek 1971). Standard errors are of the linearized
ratio, over answers that are picked independently.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from heatbath.errors import BadInput
from heatbath.estimate.estimate import Estimate
from heatbath.trust.calibration.reliability import NUM_BINS
from heatbath.trust.calibration.signal_table import Floats, validate_labels, validate_probabilities


def estimate_accuracy(labels: ArrayLike, selection: ArrayLike) -> Estimate:
    """Return the share of right answers among all answers.

    Args:
        labels: 1 for right and 0 for wrong, (n,), of the answers that were picked.
        selection: the probability with which each was picked, (n,).

    Raises:
        BadInput: no labels, a label that is not 0 or 1, or a probability that is not in (0, 1].
    """
    y = validate_labels(labels)
    return _weighted_mean(np.asarray(y, np.float64), _weights(selection, len(y)))


def estimate_calibration_error(
    confidence: ArrayLike, labels: ArrayLike, selection: ArrayLike, *, bins: int = NUM_BINS
) -> Estimate:
    """Return the ECE of all answers, over bins of equal width.

    Like every ECE it is too large where bins hold few labels, since noise does not cancel in a distance. The standard
    error takes for granted that no distance of a bin is smaller than its noise.

    Args:
        confidence: the probability of a right answer, (n,), of the answers that were picked.
        labels: 1 for right and 0 for wrong, (n,).
        selection: the probability with which each was picked, (n,).
        bins: number of bins.

    Raises:
        BadInput: no labels, a label that is not 0 or 1, or a probability out of range.
    """
    y = validate_labels(labels)
    p, w = validate_probabilities(confidence, len(y)), _weights(selection, len(y))
    index = np.minimum((p * bins).astype(np.int64), bins - 1)
    sign = np.sign(np.bincount(index, w * (p - y), minlength=bins))
    return _weighted_mean(sign[index] * (p - y), w)


def _weights(selection: ArrayLike, size: int) -> Floats:
    probability = validate_probabilities(selection, size)
    if not probability.all():
        raise BadInput("a probability of selection is 0: an answer that is never picked has no label.")
    return 1.0 / probability


def _weighted_mean(value: Floats, weight: Floats) -> Estimate:
    total = weight.sum()
    mean = float(weight @ value / total)
    stderr = float(np.sqrt(np.sum((weight * (value - mean)) ** 2)) / total)
    return Estimate(mean, stderr, float(total**2 / (weight @ weight)))
