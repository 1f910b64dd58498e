r"""Rigorous bounds on an ensemble from its k most probable states.

Of V states k are listed, with probabilities down to $p_k$. The others share the mass $m=1-\sum p$ among $V-k$ states,
none above $p_k$. A concave sum over them is largest if all are equal and smallest if as many as possible have $p_k$,
one has the remainder and the rest 0; for a convex sum it is the reverse. Both bounds are attained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.row_layout import as_array
from heatbath.errors import BadInput, NotANumber
from heatbath.short_repr import short_repr

Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-4
"""Tolerance on the total mass, for log-probabilities that were rounded to float32 or printed."""


@dataclass(frozen=True, repr=False)
class Interval:
    """An interval that contains the true value: `low` <= truth <= `high`, arrays (…)."""

    low: Any
    high: Any

    __repr__ = short_repr

    @property
    def width(self) -> Any:
        return self.high - self.low


@dataclass(frozen=True, repr=False)
class Bounds:
    """Rigorous bounds at T = 1 from `logprobs` (…, k), most probable first, of `vocab_size` states.

    `entropy` in nats, `purity` Σp², `tail_mass` the probability of the states that are not listed.
    """

    logprobs: Floats
    vocab_size: int
    entropy: Interval
    purity: Interval
    tail_mass: Interval

    __repr__ = short_repr

    def log_z(self, beta: float) -> Interval:
        r"""$\log\sum_v p_v^\beta$: log Z in the gauge $E=-\ln p$, in which it is 0 at beta = 1.

        Raises `BadInput` for a beta that is negative, infinite or NaN.
        """
        if not 0.0 <= beta < math.inf:
            raise BadInput(f"`beta` must be finite and at least 0, got {beta:g}.")
        if beta == 1.0:
            zero = np.zeros(self.logprobs.shape[:-1])
            return Interval(zero, zero)
        tail = _build_tail(self.logprobs, self.vocab_size)
        sums = tail.sum_interval(lambda p: np.where(p > 0.0, p, 1.0) ** beta * (p > 0.0), concave=beta < 1.0)
        listed = np.where(np.isneginf(self.logprobs), 0.0, np.exp(beta * np.maximum(self.logprobs, -1e300)))
        total = [listed.sum(-1) + part for part in (sums.low, sums.high)]
        return Interval(np.log(total[0]), np.log(total[1]))


@dataclass(frozen=True)
class _Tail:
    """Mass (…) on `num_states` states that are not listed, none above `max_probability` (…)."""

    mass: Floats
    max_probability: Floats
    num_states: int

    def sum_interval(self, function: Callable[[Floats], Floats], *, concave: bool) -> Interval:
        """Bound the sum over the tail of a concave or convex function with f(0) = 0."""
        if self.num_states == 0:
            return Interval(np.zeros_like(self.mass), np.zeros_like(self.mass))
        even = self.num_states * function(self.mass / self.num_states)
        count = np.floor(
            np.divide(self.mass, self.max_probability, out=np.zeros_like(self.mass), where=self.max_probability > 0.0)
        )
        remainder = np.maximum(self.mass - count * self.max_probability, 0.0)
        packed = count * function(self.max_probability) + function(remainder)
        return Interval(np.minimum(even, packed), np.maximum(even, packed))


def bounds(logprobs: Any, vocab_size: int) -> Bounds:
    """Bound entropy, purity and tail mass from the log-probabilities (…, k) of the k most probable states.

    `logprobs` may have any order; `vocab_size` is the number of all states. Raises `NotANumber` for a NaN, and
    `BadInput` if no distribution has this list: a positive log-probability, more than `vocab_size` entries, a mass
    above 1, or so little mass that a state not listed would have to exceed the smallest one listed.
    """
    listed = -np.sort(-_validate_logprobs(logprobs, vocab_size), axis=-1)
    tail = _build_tail(listed, vocab_size)
    p = np.exp(listed)
    listed_entropy = -(p * np.where(p > 0.0, listed, 0.0)).sum(-1)
    entropy = tail.sum_interval(_entropy_terms, concave=True)
    purity = tail.sum_interval(np.square, concave=False)
    squares = (p * p).sum(-1)
    return Bounds(
        listed,
        vocab_size,
        Interval(listed_entropy + entropy.low, listed_entropy + entropy.high),
        Interval(squares + purity.low, squares + purity.high),
        Interval(tail.mass, tail.mass),
    )


def _entropy_terms(p: Floats) -> Floats:
    return -p * np.log(np.where(p > 0.0, p, 1.0))


def _validate_logprobs(logprobs: Any, vocab_size: int) -> Floats:
    """Return the list as float64. Raises `BadInput` or `NotANumber` for invalid entries or an invalid length."""
    listed = as_array(logprobs).astype(np.float64)
    if listed.ndim == 0 or not 1 <= listed.shape[-1] <= vocab_size:
        raise BadInput(f"`logprobs` must list from 1 to all {vocab_size} states, got shape {listed.shape}.")
    if np.isnan(listed).any():
        raise NotANumber(f"`logprobs` is NaN at {_first_index(np.isnan(listed))}.")
    if (listed > TOLERANCE).any():
        where = _first_index(listed > TOLERANCE)
        raise BadInput(f"`logprobs` must be at most 0, got {listed[where]:g} at {where}.")
    return np.minimum(listed, 0.0)


def _build_tail(listed: Floats, vocab_size: int) -> _Tail:
    """Return the tail that a list sorted in descending order leaves."""
    p = np.exp(listed)
    mass, smallest, states = 1.0 - p.sum(-1), p[..., -1], vocab_size - listed.shape[-1]
    if (mass < -TOLERANCE).any():
        where = _first_index(mass < -TOLERANCE)
        raise BadInput(
            f"The probabilities of list {where} sum to {1.0 - mass[where]:.6g}, above 1: give those at T = 1."
        )
    excess = mass > states * smallest + TOLERANCE
    if excess.any():
        where = _first_index(excess)
        raise BadInput(
            f"List {where} leaves {mass[where]:.6g} to {states} states of at most {smallest[where]:.3g} each: "
            "these are not the most probable states, or the vocabulary is larger."
        )
    return _Tail(np.clip(mass, 0.0, states * smallest), smallest, states)


def _first_index(bad: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(bad)[0])
