"""The ensembles at the tokens of answers: what signals are computed from, whichever way the answers were recorded."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from heatbath.trust.signals.base import Floats
from heatbath.trust.signals.token_values import Segments, TokenValues

MODE_ORDER = 10.0
"""Order of the moment that counts the modes of a distribution: tokens with 0.8 of the largest probability count 0.1."""


class TokenEnsembles(ABC):
    """The ensembles of N tokens of many answers, flat; a `temperature` of None is that of the record of each token.

    Quantities that a source does not know are NaN, with the reason. Those without a temperature are at T = 1.
    """

    segments: Segments

    @property
    def count(self) -> int:
        """The number of tokens."""
        return int(self.segments.lengths.sum())

    @abstractmethod
    def logprob(self, temperature: float | None) -> TokenValues:
        r"""Return \(\ln p_T\) of the token."""

    @abstractmethod
    def entropy(self, temperature: float | None) -> TokenValues:
        """Return the entropy S."""

    @abstractmethod
    def heat_capacity(self, temperature: float | None) -> TokenValues:
        r"""Return \(C = \beta^2 \mathrm{Var} E\), the variance of \(\ln p_T\)."""

    @abstractmethod
    def log_z(self, temperature: float | None) -> TokenValues:
        """Return log Z in the gauge of the energies."""

    @abstractmethod
    def ground_surprisal(self, temperature: float | None) -> TokenValues:
        r"""Return \(-\ln p_{max}\): log Z in the gauge in which the lowest energy is 0."""

    @abstractmethod
    def uniform_surprisal(self) -> TokenValues:
        r"""Return the mean of \(-\ln p\) over the vocabulary: log Z in the gauge in which the mean energy is 0."""

    @abstractmethod
    def log_count(self) -> TokenValues:
        """Return the log of the number of tokens that are possible."""

    @abstractmethod
    def power_sum(self, order: float) -> TokenValues:
        r"""Return \(\ln \sum_v (p_v / p_{max})^q\), for a finite order q > 0."""

    @abstractmethod
    def excess_energy(self) -> TokenValues:
        """Return the energy of the token above the lowest one."""

    @abstractmethod
    def margin(self) -> TokenValues:
        """Return the difference of the two largest probabilities."""

    @abstractmethod
    def spilled_energy(self, temperature: float | None) -> TokenValues:
        r"""Return \(\beta E_t(x_t) + \ln Z_{t+1}\), which the last token of an answer does not have."""

    def renyi_entropy(self, order: float) -> TokenValues:
        r"""Return \(\ln \sum_v p_v^q / (1 - q)\): the log of the count at q = 0, S at 1, \(-\ln p_{max}\) at inf."""
        if order == 0.0:
            return self.log_count()
        if order == 1.0:
            return self.entropy(1.0)
        ground = self.ground_surprisal(1.0)
        if np.isposinf(order):
            return ground
        powers = self.power_sum(order)
        value, low, high = (
            (power - order * surprisal) / (1.0 - order)
            for power, surprisal in (
                (powers.value, ground.value),
                (powers.lower, ground.upper) if order < 1.0 else (powers.upper, ground.lower),
                (powers.upper, ground.lower) if order < 1.0 else (powers.lower, ground.upper),
            )
        )
        return self._clip_to_order(order, TokenValues(value, low, high, powers.reason or ground.reason))

    def _clip_to_order(self, order: float, found: TokenValues) -> TokenValues:
        """Narrow the interval of a Renyi entropy, which falls with its order: S is on one side of it."""
        shannon, ground = self.entropy(1.0), self.ground_surprisal(1.0)
        if order < 1.0:
            low, high = np.fmax(found.lower, shannon.lower), found.upper
        else:
            low, high = np.fmax(found.lower, ground.lower), np.fmin(found.upper, shannon.upper)
        low, high = np.minimum(low, high), np.maximum(low, high)
        return TokenValues(np.clip(found.value, low, high), low, high, found.reason)

    def self_certainty(self) -> TokenValues:
        r"""Return the divergence of p from the uniform distribution, \(D(u\,\|\,p)\)."""
        surprisal, count = self.uniform_surprisal(), self.log_count()
        ends = surprisal.lower - count.upper, surprisal.upper - count.lower
        low, high = (np.where(np.isnan(end), end, np.maximum(end, 0.0)) for end in ends)
        if surprisal.is_exact and count.is_exact:
            return TokenValues(low, low, low, surprisal.reason or count.reason)
        return TokenValues.interval(low, high, reason=surprisal.reason or count.reason)

    def mode_count(self) -> TokenValues:
        r"""Return \(\sum_v (p_v / p_{max})^{10}\): 1 with one mode, n with n equal ones."""
        return self.power_sum(MODE_ORDER).map(np.exp)

    def mode_mass(self) -> TokenValues:
        """Return the probability of the modes: their number times the largest probability, at most 1."""
        powers, ground = self.power_sum(MODE_ORDER), self.ground_surprisal(1.0)
        ends = (powers.lower - ground.upper, powers.upper - ground.lower, powers.value - ground.value)
        low, high, value = (np.exp(np.minimum(end, 0.0)) for end in ends)
        return TokenValues(value, low, high, powers.reason or ground.reason)

    def p_max(self, temperature: float | None) -> TokenValues:
        """Return the largest probability."""
        return self.ground_surprisal(temperature).map(_exp_negative, falls=True)


def _exp_negative(values: Floats) -> Floats:
    return np.asarray(np.exp(-values))
