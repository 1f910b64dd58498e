r"""Token ensembles from lists of the most probable tokens: everything is an interval.

Beyond the list lie V − k tokens, none above \(p_k\), which share the rest of the mass. They are all taken to be
possible: `vocab_size` counts the tokens that the model can produce.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from heatbath.ensemble import Bounds, bounds
from heatbath.ensemble.rounding import logprob_rounding
from heatbath.trust.signals.base import Floats
from heatbath.trust.signals.token_ensembles import TokenEnsembles
from heatbath.trust.signals.token_values import Segments, TokenValues

_SQUARE_PEAK = math.exp(-2.0)
"""The probability at which p ln² p is largest below 1; it is concave and rising up to there."""

_ENDS = "a list of log-probabilities says nothing of T = 0 and T = inf"


class ListEnsembles(TokenEnsembles):
    """The ensembles of top-k lists (N, k) of log-probabilities at T = 1; `token_logprobs` (N,) those of the tokens."""

    def __init__(self, top_logprobs: Any, vocab_size: int, lengths: Sequence[int], token_logprobs: Any = None) -> None:
        sizes = np.asarray(lengths, np.int64)
        self.segments = Segments(sizes[sizes > 0])
        self._bounds: Bounds = bounds(top_logprobs, vocab_size)
        self._vocab_size = vocab_size
        self._given = token_logprobs
        self._low = self._bounds.logprobs - self._bounds.rounding
        self._high = np.minimum(self._bounds.logprobs + self._bounds.rounding, 0.0)
        self._num_unlisted = vocab_size - self._low.shape[-1]

    def logprob(self, temperature: float | None) -> TokenValues:
        if self._given is None:
            return self._withhold("the log-probabilities of the answer's tokens are not given")
        given = np.asarray(self._given, np.float64)
        error = logprob_rounding(self._given, given, self._vocab_size)
        if self._is_usual(temperature):
            return TokenValues(np.minimum(given, 0.0), given - error, np.minimum(given + error, 0.0))
        if not temperature or math.isinf(temperature):
            return self._withhold(_ENDS)
        beta = 1.0 / temperature
        log_z = self._bounds.log_z(beta)
        ends = beta * (given - error) - log_z.high, beta * (given + error) - log_z.low
        return TokenValues.interval(*(np.minimum(end, 0.0) for end in ends))

    def entropy(self, temperature: float | None) -> TokenValues:
        if not self._is_usual(temperature):
            return self._withhold("a list of log-probabilities bounds the entropy at T = 1 alone")
        return TokenValues.interval(self._bounds.entropy.low, self._bounds.entropy.high)

    def heat_capacity(self, temperature: float | None) -> TokenValues:
        if not self._is_usual(temperature):
            return self._withhold("a list of log-probabilities bounds the heat capacity at T = 1 alone")
        ends = _square_terms(np.exp(self._low)), _square_terms(np.exp(self._high))
        straddles = (self._low < -2.0) & (self._high > -2.0)
        peak = np.where(straddles, _square_terms(np.full_like(self._low, _SQUARE_PEAK)), np.maximum(*ends))
        tail_low, tail_high = self._bound_tail_squares()
        low, high = np.minimum(*ends).sum(-1) + tail_low, peak.sum(-1) + tail_high
        entropy = self._bounds.entropy
        return TokenValues.interval(np.maximum(low - entropy.high**2, 0.0), np.maximum(high - entropy.low**2, 0.0))

    def log_z(self, temperature: float | None) -> TokenValues:
        return self._withhold("log-probabilities do not tell log Z, which depends on the zero of energy")

    def spilled_energy(self, temperature: float | None) -> TokenValues:
        return self._withhold("log-probabilities do not tell energies, which depend on their zero")

    def ground_surprisal(self, temperature: float | None) -> TokenValues:
        low, high = -self._high[:, 0], -self._low[:, 0]
        if self._is_usual(temperature):
            return TokenValues.interval(low, high)
        if not temperature or math.isinf(temperature):
            return self._withhold(_ENDS)
        beta = 1.0 / temperature
        log_z = self._bounds.log_z(beta)
        return TokenValues.interval(np.maximum(log_z.low + beta * low, 0.0), np.maximum(log_z.high + beta * high, 0.0))

    def uniform_surprisal(self) -> TokenValues:
        finite = np.isfinite(self._low)
        ends = ((-np.where(finite, end, 0.0)).sum(-1) for end in (self._high, self._low))
        low, high = ends
        complete = ~finite.all(-1) | (self._num_unlisted == 0)
        possible = np.where(complete, finite.sum(-1), self._vocab_size)
        rest = self._num_unlisted * (math.log(max(self._num_unlisted, 1)) - self._log_tail_mass())
        low = np.where(complete, low, low + rest)
        return TokenValues.interval(low / possible, np.where(complete, high / possible, np.inf))

    def log_count(self) -> TokenValues:
        finite = np.isfinite(self._low)
        return TokenValues.exact(np.log(np.where(finite.all(-1), self._vocab_size, finite.sum(-1))))

    def power_sum(self, order: float) -> TokenValues:
        log_z = self._bounds.log_z(order)
        low = np.maximum(log_z.low - order * self._high[:, 0], 0.0)
        return TokenValues.interval(low, np.maximum(log_z.high - order * self._low[:, 0], low))

    def excess_energy(self) -> TokenValues:
        ours = self.logprob(1.0)
        if ours.reason:
            return ours
        ends = self._low[:, 0] - ours.upper, self._high[:, 0] - ours.lower
        return TokenValues.interval(*(np.maximum(end, 0.0) for end in ends))

    def margin(self) -> TokenValues:
        low, high = np.exp(self._low[:, 0]), np.exp(self._high[:, 0])
        if self._low.shape[-1] > 1:
            second = np.exp(self._low[:, 1]), np.exp(self._high[:, 1])
        else:
            tail = self._bounds.tail_mass
            second = tail.low / max(self._num_unlisted, 1), np.minimum(high, tail.high)
        return TokenValues.interval(np.maximum(low - second[1], 0.0), np.maximum(high - second[0], 0.0))

    def _withhold(self, reason: str) -> TokenValues:
        return TokenValues.missing(self.count, reason)

    @staticmethod
    def _is_usual(temperature: float | None) -> bool:
        return temperature is None or temperature == 1.0

    @cached_property
    def _smallest(self) -> Floats:
        return np.asarray(self._high[:, -1])

    def _log_tail_mass(self) -> Floats:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self._bounds.tail_mass.high))

    def _bound_tail_squares(self) -> tuple[Floats, Floats]:
        """Bound the sum of p ln² p over the tokens that are not listed.

        ln² p falls, so that each p brings at least p ln² of the largest. The even spread of the mass is the most for a
        concave function, and p ln² p is one if it is kept at its largest value from there on.
        """
        if not self._num_unlisted:
            return np.zeros(self.count), np.zeros(self.count)
        least, most = self._bounds.tail_mass.low, self._bounds.tail_mass.high
        largest = np.where(np.isfinite(self._smallest), self._smallest, 0.0)
        share = np.minimum(most / self._num_unlisted, _SQUARE_PEAK)
        return least * largest**2, self._num_unlisted * _square_terms(share)


def _square_terms(p: Floats) -> Floats:
    return np.asarray(p * np.log(np.where(p > 0.0, p, 1.0)) ** 2)
