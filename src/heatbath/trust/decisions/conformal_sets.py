r"""Sets of labels that hold the right one with a stated probability (split conformal prediction).

The score of a text is $1 - p$ of its right label. With n held-out texts, the threshold for the error rate α is the
$\lceil (n+1)(1-\alpha) \rceil$-th smallest score, and the set of a new text has all labels with a score up to it. It
holds the right label with a probability of at least 1 − α, over the draw of the held-out texts and of the new one, if
these are exchangeable and took no part in the fit. Where n is too small for α no finite threshold has that property,
and the set has all labels. A set may be empty: no label is as probable as the right one mostly is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput, format_value

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ROUNDING = 1e-9


def validate_error_rate(alpha: object) -> float:
    """Return an error rate. Raises `BadInput` unless it lies between 0 and 1."""
    is_number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
    if not is_number or not 0 < alpha < 1:  # type: ignore[operator]
        raise BadInput(f"`alpha` must be between 0 and 1, got {format_value(alpha)}.", param="alpha")
    return float(alpha)  # type: ignore[arg-type]


def min_held_out(alpha: float) -> int:
    """Return the number of held-out texts from which a threshold for the error rate `alpha` is finite."""
    return max(1, math.ceil(1 / validate_error_rate(alpha) - 1 - _ROUNDING))


def nonconformity_scores(probabilities: Floats, answers: Ints) -> tuple[float, ...]:
    """Return the scores of held-out texts from the probabilities (n, K) of their labels, in order of size."""
    scores = 1 - probabilities[np.arange(len(answers)), answers]
    return tuple(np.sort(scores).tolist())


def conformal_threshold(scores: Sequence[float], alpha: float) -> float:
    """Return the threshold of scores for the error rate `alpha`; inf where there are too few."""
    count = len(scores)
    # The product may be above a whole number by rounding alone: 20 * (1 - 0.1) is one.
    rank = math.ceil((count + 1) * (1 - validate_error_rate(alpha)) - _ROUNDING)
    return float(np.sort(np.asarray(scores, np.float64))[rank - 1]) if rank <= count else math.inf


def select_labels(probabilities: Sequence[float], threshold: float) -> tuple[int, ...]:
    """Return the labels whose score is at most the threshold, by number."""
    return tuple(label for label, probability in enumerate(probabilities) if 1 - probability <= threshold)
