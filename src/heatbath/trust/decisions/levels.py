r"""Levels of a decision: what is done to the read-out of labels before it counts as probabilities.

* `raw`: the options in the order given, one pass.
* `order`: log-probabilities averaged over orders of the options, plus an offset of each label. An energy that depends
  on the place of an option alone adds the same to every label then; the offset takes away what favors a label whatever
  the text is. It is fitted without labels: such that the mean probability of each label over a pool of texts is its
  rate there, equal for all labels unless rates are given.
* `temperature`: those energies at a temperature fitted to labeled texts.
* `head`: a classifier on the last hidden state after the prompt, fitted to labeled texts; one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logsumexp, softmax

from heatbath.errors import BadInput, format_value

Level = Literal["raw", "order", "temperature", "head"]
LEVELS: tuple[Level, ...] = get_args(Level)

MIN_POOL = 20
"""Texts from which offsets are fitted."""
MIN_LABELED = {"temperature": 50, "head": 60}
"""Labeled texts that a level needs."""
MIN_PER_LABEL = 5
"""Texts of each label that a head needs: its folds of cross-validation hold one of each at least."""
_BETA_RANGE = (1e-3, 1e3)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def validate_level(level: object) -> Level:
    """Return the level. Raises `BadInput` for another value."""
    for each in LEVELS:
        if level == each:
            return each
    raise BadInput(f"`level` must be {', '.join(LEVELS[:-1])} or head, got {format_value(level)}.", param="level")


def average_orders(logprobs: Floats) -> Floats:
    """Return the mean over orders of log p among the labels, (n, K), from log p of each, (n, R, K).

    A label is impossible if it is so in one of the orders. Raises `BadInput` for a text without a possible label.
    """
    with np.errstate(invalid="ignore"):
        scores: Floats = (logprobs - logsumexp(logprobs, axis=2, keepdims=True)).mean(1)
    if not np.isfinite(scores.max(1)).all():
        place = int(np.flatnonzero(~np.isfinite(scores.max(1)))[0])
        raise BadInput(f"the model gives no label a probability for text {place}: give other labels.", param="options")
    return scores


def label_probabilities(scores: Floats, *, offsets: Sequence[float] = (), temperature: float = 1.0) -> Floats:
    """Return the probabilities of labels, (n, K), from scores (n, K) with offsets (K,) at a temperature."""
    shifted = scores + np.asarray(offsets) if len(offsets) else scores
    return np.asarray(softmax(shifted / temperature, axis=1))


def fit_offsets(scores: Floats, rates: Sequence[float] | None = None) -> tuple[float, ...]:
    r"""Return the offsets $b$ with which mean probabilities over a pool of scores (n, K) are the rates of the labels.

    They minimize the convex $\overline{\log\sum_i e^{s_i + b_i}} - \sum_i \pi_i b_i$, and their mean is 0. Scores with
    a constant added to a label give offsets that are less by it, so that the sum is the same.

    Raises:
        BadInput: fewer texts than `MIN_POOL`, rates that are no distribution, a label that is impossible.
    """
    count, labels = scores.shape
    if count < MIN_POOL:
        raise BadInput(
            f"a label prior needs {MIN_POOL} texts without labels, got {count}: give {MIN_POOL - count} more."
        )
    target = np.full(labels, 1 / labels) if rates is None else np.asarray(rates, np.float64)
    if target.shape != (labels,) or not (target > 0).all() or abs(target.sum() - 1) > 1e-6:
        raise BadInput(f"`rates` must be {labels} numbers above 0 that add up to 1, got {format_value(rates)}.")
    if not np.isfinite(scores).all():
        place = int(np.flatnonzero(~np.isfinite(scores).all(0))[0])
        raise BadInput(f"label {place} is impossible for some texts of the pool: give other labels.", param="options")

    def loss(offsets: Floats) -> tuple[float, Floats]:
        logits = scores + offsets
        value = float(logsumexp(logits, axis=1).mean() - target @ offsets)
        return value, softmax(logits, axis=1).mean(0) - target

    start = np.log(target) - (logsumexp(scores, axis=0) - np.log(count))
    found = minimize(loss, start - start.mean(), jac=True, method="BFGS", options={"gtol": 1e-10, "maxiter": 2000})
    centered = found.x - found.x.mean()
    return tuple(centered.tolist())


def fit_temperature(scores: Floats, answers: Ints, *, what: str = "a temperature") -> float:
    """Return the temperature of scores (n, K) with the greatest likelihood of the answers (n,), within bounds.

    Raises:
        BadInput: fewer answers than a temperature needs.
    """
    needed = MIN_LABELED["temperature"]
    if len(answers) < needed:
        raise BadInput(f"{what} needs {needed} labeled texts, got {len(answers)}: give {needed - len(answers)} more.")

    rows = np.arange(len(answers))
    if not np.isfinite(scores[rows, answers]).all():
        place = int(np.flatnonzero(~np.isfinite(scores[rows, answers]))[0])
        raise BadInput(f"the model rules out the label of labeled text {place}: correct it, or give other labels.")

    def loss(log_beta: float) -> float:
        logp = log_softmax(np.exp(log_beta) * scores, axis=1)
        return -float(logp[rows, answers].mean())

    low, high = np.log(_BETA_RANGE)
    # The loss is convex in beta, and so has one minimum in its logarithm.
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-10})
    return float(np.exp(-found.x))
