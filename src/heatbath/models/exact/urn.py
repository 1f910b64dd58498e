"""An urn with memory, a language model whose temperature transition is known exactly.

Tokens are spins x = -1 and +1, and the next one is biased towards the mean of all before it. Sampled token by token it
is a growing Curie-Weiss magnet, a nonlinear relative of the elephant random walk.
"""

from __future__ import annotations

import numpy as np

from heatbath.errors import BadInput
from heatbath.models.base import Vocabulary
from heatbath.models.exact.base import ExactModel, Floats, Ints, log_probabilities, parameter_fingerprint

_SPINS = np.array([-1.0, 1.0])


class UrnModel(ExactModel):
    r"""A model of two tokens, 0 for x = -1 and 1 for x = +1, with energies $E_t(x) = -J m_t x$.

    $m_t$ is the mean spin so far, 0 at first.

    It orders below T = J. Between J and 2 J the susceptibility still grows with length, without order.
    """

    def __init__(self, J: float = 1.0) -> None:
        if not 0 < J < np.inf:
            raise BadInput(f"`J` must be positive and finite, got {J}.")
        super().__init__(f"urn(J={J:g})", Vocabulary(2), [b"-", b"+"])
        self.J = J

    @property
    def fingerprint(self) -> str:
        return parameter_fingerprint("UrnModel", float(self.J))

    def initial_state(self, rows: int) -> Ints:
        return np.zeros((rows, 2), np.int64)

    def advance(self, state: Ints, tokens: Ints) -> Ints:
        after = state + 1
        after[:, 0] = state[:, 0] + 2 * tokens - 1
        return after

    def next_energies(self, state: Ints) -> Floats:
        return _spin_energies(self.J, state[:, 0], state[:, 1])

    @property
    def critical_temperature(self) -> float:
        """T_c = J."""
        return self.J

    def order_parameter(self, temperature: float) -> float:
        r"""Return the largest solution $m^*$ of $m = \tanh(m J / T)$: 0 for T >= J, 1 at T = 0."""
        if _validate_temperature(temperature) == 0:
            return 1.0
        if temperature >= self.J:
            return 0.0
        low, high = 0.0, 1.0
        while (middle := 0.5 * (low + high)) not in (low, high):
            above = np.tanh(middle * self.J / temperature) < middle
            low, high = (low, middle) if above else (middle, high)
        return high

    def growth_exponent(self, temperature: float) -> float:
        r"""Return $\gamma$ of $\tau(N) = N\,\mathrm{Var}\,m_N \propto N^\gamma$: 1 to J, 2 J / T - 1 to 2 J, then 0."""
        if _validate_temperature(temperature) <= self.J:
            return 1.0
        return max(0.0, 2 * self.J / temperature - 1)

    def count_distribution(self, length: int, temperature: float) -> Floats:
        """Return the exact probabilities of 0 to `length` spins +1 among the first `length`, (length + 1,)."""
        beta = np.inf if _validate_temperature(temperature) == 0 else 1 / temperature
        probabilities = np.ones(1)
        for t in range(length):
            step = np.exp(log_probabilities(_spin_energies(self.J, 2 * np.arange(t + 1) - t, np.full(t + 1, t)), beta))
            down, up = probabilities * step[:, 0], probabilities * step[:, 1]
            probabilities = np.append(down, 0.0) + np.append(0.0, up)
        return probabilities

    def mean_spin_variance(self, length: int, temperature: float) -> float:
        """Return the exact variance of the mean spin of `length` tokens."""
        if length < 1:
            raise BadInput(f"`length` must be at least 1, got {length}.")
        mean = (2 * np.arange(length + 1) - length) / length
        # The mean spin has expectation 0 by symmetry.
        return float(self.count_distribution(length, temperature) @ mean**2)

    def susceptibility(self, length: int, temperature: float) -> float:
        r"""Return $\tau(N) = N\,\mathrm{Var}\,m_N$, exactly."""
        return length * self.mean_spin_variance(length, temperature)


def _spin_energies(J: float, total: Ints, count: Ints) -> Floats:
    mean = total / np.maximum(count, 1)
    return np.asarray((-J * mean)[:, None] * _SPINS)


def _validate_temperature(temperature: float) -> float:
    if not 0 <= temperature < np.inf:
        raise BadInput(f"`temperature` must be finite and at least 0, got {temperature}.")
    return temperature
