r"""Tests by betting, which may be looked at after every observation.

A gambler begins with the capital 1 and bets against a hypothesis, at odds that are fair if it is true: the factor of
his capital has a mean of at most 1, whatever came before. Then the capital is at most 1 on average at any time, and the
probability that it ever reaches \(1/\alpha\) is at most \(\alpha\) (Ville 1939).

Here the capital is divided among several bets and among the times at which they begin. A bet that began long ago has
lost what it had while the hypothesis was true; one that has just begun has not, so that late changes are found too. The
share that begins at step t falls as 1/t², which costs 2 ln t nats of evidence.

Sources: Vovk and Wang 2021, "E-values"; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by
betting"; Vovk, Gammerman and Shafer, "Algorithmic learning in a random world", chapter 8.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

Floats = NDArray[np.float64]

MARGIN = 0.01
"""A confidence nearer to 0 or 1 than this counts as this near: some hundred questions cannot tell them apart."""

LABEL_BETS = tuple(
    (slope, shift)
    for slope, shifts in ((1.0, (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)), (0.5, (0.0,)), (2.0, (0.0,)))
    for shift in shifts
)
"""Alternatives to a calibrated confidence: its log-odds are really `slope` times what is said, plus `shift`."""

LINEAR_BETS = (-0.9, -0.5, 0.5, 0.9)
SPREAD_BETS = (-0.8, 1.0)
NUM_RANK_BETS = len(LINEAR_BETS) + len(SPREAD_BETS)


def label_factors(confidence: ArrayLike, is_right: ArrayLike) -> Floats:
    r"""Return the factor of each of `LABEL_BETS` for labels (...,), as (..., K).

    The factor is \(1 + \lambda (y - p)\), the likelihood ratio of an alternative q with \(\lambda = (q-p)/(p(1-p))\).
    A confidence beyond `MARGIN` is only bet on where it would be even farther from the label than it says.
    """
    said = np.asarray(confidence, np.float64)[..., None]
    p = np.clip(said, MARGIN, 1.0 - MARGIN)
    slope, shift = np.array(LABEL_BETS).T
    q = expit(slope * logit(p) + shift)
    inward = ((said < MARGIN) & (q < p)) | ((said > 1.0 - MARGIN) & (q > p))
    stake = np.where(inward, 0.0, (q - p) / (p * (1.0 - p)))
    return np.asarray(1.0 + stake * (np.asarray(is_right, np.float64)[..., None] - p))


def rank_factors(rank: ArrayLike) -> Floats:
    r"""Return the factors of bets on ranks (...,) that are uniform in [0, 1] under the hypothesis, as (..., K).

    They are \(1 + \epsilon (2u - 1)\), for a move of the distribution, and \(1 + \epsilon\,(3(2u-1)^2 - 1)/2\), for a
    change of its width.
    """
    x = 2.0 * np.asarray(rank, np.float64)[..., None] - 1.0
    linear = 1.0 + np.array(LINEAR_BETS) * x
    spread = 1.0 + np.array(SPREAD_BETS) * (1.5 * x * x - 0.5)
    return np.concatenate([linear, spread], axis=-1)


class BettingMixture:
    """The capital of a mixture of K bets and of all times to begin, in logs.

    Attributes:
        steps: observations so far.
        log_capital: ln of the capital now.
        log_peak: the largest so far, which is what an alarm looks at.
    """

    def __init__(self, num_bets: int) -> None:
        self._log_wealth = np.full(num_bets, -np.inf)
        self._log_reserve = 0.0
        self.steps = 0
        self.log_capital = 0.0
        self.log_peak = 0.0

    def update(self, factors: Floats) -> None:
        """Multiply the capital of each bet by its factor, (K,), after new capital has joined them."""
        starting = 1.0 / (self.steps + 2)
        entering = self._log_reserve + math.log(starting / len(factors))
        self._log_wealth = np.logaddexp(self._log_wealth, entering) + np.log(factors)
        self._log_reserve += math.log1p(-starting)
        self.steps += 1
        self.log_capital = float(np.logaddexp(np.logaddexp.reduce(self._log_wealth), self._log_reserve))
        self.log_peak = max(self.log_peak, self.log_capital)

    @classmethod
    def from_factors(cls, factors: Floats) -> BettingMixture:
        """Return the mixture after T >= 1 steps with factors (T, K), without a step at a time."""
        wealth = _log_wealth_path(factors)
        path = _add_reserve(wealth)
        made = cls(factors.shape[-1])
        made.steps = len(factors)
        made._log_wealth, made._log_reserve = wealth[-1], -math.log(made.steps + 1.0)
        made.log_capital, made.log_peak = float(path[-1]), max(0.0, float(path.max()))
        return made


def log_capital_path(factors: Floats) -> Floats:
    """Return ln of the capital of `BettingMixture` after each of T steps, (..., T), from factors (..., T, K)."""
    return _add_reserve(_log_wealth_path(factors))


def _log_wealth_path(factors: Floats) -> Floats:
    steps, bets = factors.shape[-2:]
    t = np.arange(steps, dtype=np.float64)
    # The share that begins at step t is 1/((t + 1)(t + 2)), and 1/(t + 2) has not begun after it.
    entering = -np.log((t + 1.0) * (t + 2.0)) - math.log(bets)
    total = np.cumsum(np.log(factors), axis=-2)
    before = np.concatenate([np.zeros_like(total[..., :1, :]), total[..., :-1, :]], axis=-2)
    return np.asarray(total + np.logaddexp.accumulate(entering[:, None] - before, axis=-2))


def _add_reserve(wealth: Floats) -> Floats:
    reserve = -np.log(np.arange(wealth.shape[-2]) + 2.0)
    return np.asarray(np.logaddexp(np.logaddexp.reduce(wealth, axis=-1), reserve))
