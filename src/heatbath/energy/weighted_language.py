"""Weighted languages: a weight for every text, and the sum of the weights of all texts that begin with a prefix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]
S = TypeVar("S")
_MAX_STEPS = 200


class WeightedLanguage(ABC, Generic[S]):
    """A weight of 0 or more for every text, read byte by byte; the state after a prefix is never changed."""

    @abstractmethod
    def start(self) -> S:
        """Return the state before the first byte."""

    @abstractmethod
    def extend(self, state: S, text: bytes) -> S:
        """Return the state after more bytes."""

    @abstractmethod
    def log_weight(self, state: S) -> float:
        """Return the log of the weight of the text so far; -inf for a weight of 0."""

    @abstractmethod
    def log_prefix_weight(self, state: S) -> float:
        """Return the log of the sum of the weights of all texts that begin with the text so far.

        It is -inf exactly if there are none. Where that sum is infinite, a language may return another finite number.
        """

    def score(self, text: str | bytes) -> float:
        """Return the log of the weight of a whole text."""
        data = text.encode() if isinstance(text, str) else text
        return self.log_weight(self.extend(self.start(), data))


def sum_chains(matrix: Floats) -> Floats | None:
    r"""Return $\sum_n M^n = (1 - M)^{-1}$ of a matrix without negative entries, (N, N); None where it is infinite."""
    size = len(matrix)
    if not matrix.any():
        return np.eye(size)
    if max(abs(np.linalg.eigvals(matrix))) >= 1 - 1e-12:
        return None
    return np.asarray(np.maximum(np.linalg.inv(np.eye(size) - matrix), 0.0))


def transitive_closure(matrix: Floats) -> npt.NDArray[np.bool_]:
    """Return which places a chain of any number of steps leads to, (N, N), from the places that one step leads to."""
    reached = np.eye(len(matrix), dtype=bool) | (matrix > 0)
    while True:
        further = (reached.astype(np.float64) @ reached) > 0
        if (further == reached).all():
            return reached
        reached = further


def least_fixed_point(constant: Floats, linear: Floats, rules: npt.NDArray[np.int64], weights: Floats) -> Floats | None:
    r"""Return the least $z \ge 0$ with $z_A = c_A + \sum_B L_{AB} z_B + \sum_{A \to BC} w z_B z_C$, (N,).

    `rules` (R, 3) are A, B and C of each rule. None where there is none: sums of weights are infinite.

    Source: Etessami and Yannakakis 2009, J. ACM 56(1): Newton steps from 0 grow towards the least solution.
    """
    size, z = len(constant), np.zeros(len(constant))
    parent, left, right = rules.T
    for _ in range(_MAX_STEPS):
        products = np.bincount(parent, weights * z[left] * z[right], minlength=size)
        jacobian = linear.copy()
        np.add.at(jacobian, (parent, left), weights * z[right])
        np.add.at(jacobian, (parent, right), weights * z[left])
        residual = constant + linear @ z + products - z
        try:
            step = np.linalg.solve(np.eye(size) - jacobian, residual)
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all() or (step < -1e-6 * (1 + z)).any():
            return None
        z = z + np.maximum(step, 0.0)
        if (step <= 1e-15 * (1 + z)).all():
            return np.asarray(z)
    # Where the branching is critical each step only halves the error, and rounding stops it near 1e-8.
    return np.asarray(z) if np.abs(step).max() < 1e-6 else None


def validate_weight(value: object, what: str) -> float:
    """Return a weight as a float. Raises `BadInput` unless it is a finite number of 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
        raise BadInput(f"the weight of {what} must be a finite number of 0 or more, got {value!r:.60}.")
    return float(value)
