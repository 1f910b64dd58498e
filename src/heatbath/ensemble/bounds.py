r"""What the k most probable states still pin down of the whole ensemble.

Of V states k are listed, with probabilities down to $p_k$. The others share the mass $m=1-\sum p$ among $V-k$ states,
none above $p_k$. A concave sum over them is largest when all are equal and smallest when as many as fit have $p_k$,
one has the remainder and the rest nothing; a convex sum the other way round. Both ends are attained.
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

Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-4
"""Mass by which a list may miss 1, for log-probabilities that were rounded to float32 or printed."""


@dataclass(frozen=True)
class Interval:
    """`low` <= truth <= `high`, arrays (…)."""

    low: Any
    high: Any

    @property
    def width(self) -> Any:
        return self.high - self.low


@dataclass(frozen=True)
class Bounds:
    """Rigorous bounds at T = 1 from `listed` (…, k) log-probabilities, most probable first, of `vocab_size` states.

    `entropy` in nats, `purity` Σp², `tail_mass` the probability of what is not listed.
    """

    logprobs: Floats
    vocab_size: int
    entropy: Interval
    purity: Interval
    tail_mass: Interval

    def log_z(self, beta: float) -> Interval:
        r"""$\log\sum_v p_v^\beta$: log Z in the gauge $E=-\ln p$, in which it is 0 at beta = 1.

        Raises BadInput for a beta that is negative, infinite or NaN.
        """
        if not 0.0 <= beta < math.inf:
            raise BadInput(f"beta = {beta:g} cannot be used here: give a number from 0 up to, but not, inf.")
        if beta == 1.0:
            zero = np.zeros(self.logprobs.shape[:-1])
            return Interval(zero, zero)
        tail = _build_tail(self.logprobs, self.vocab_size)
        sums = tail.sum_interval(lambda p: np.where(p > 0.0, p, 1.0) ** beta * (p > 0.0), concave=beta < 1.0)
        seen = np.where(np.isneginf(self.logprobs), 0.0, np.exp(beta * np.maximum(self.logprobs, -1e300)))
        total = [seen.sum(-1) + part for part in (sums.low, sums.high)]
        return Interval(np.log(total[0]), np.log(total[1]))


@dataclass(frozen=True)
class _Tail:
    """`mass` (…) on `states` states that are not listed, none above `most` (…)."""

    mass: Floats
    max_probability: Floats
    num_states: int

    def sum_interval(self, function: Callable[[Floats], Floats], *, concave: bool) -> Interval:
        """The least and the most that a sum of a concave or convex function with f(0) = 0 can be over the tail."""
        if self.num_states == 0:
            return Interval(np.zeros_like(self.mass), np.zeros_like(self.mass))
        even = self.num_states * function(self.mass / self.num_states)
        full = np.floor(
            np.divide(self.mass, self.max_probability, out=np.zeros_like(self.mass), where=self.max_probability > 0.0)
        )
        rest = np.maximum(self.mass - full * self.max_probability, 0.0)
        packed = full * function(self.max_probability) + function(rest)
        return Interval(np.minimum(even, packed), np.maximum(even, packed))


def bounds(logprobs: Any, vocab_size: int) -> Bounds:
    """What the log-probabilities (…, k) of the k most probable of `vocab_size` states say about all of them.

    In any order. Raises NotANumber for a NaN, and BadInput where no distribution has this list: a positive
    log-probability, more than `vocab_size` entries, a mass above 1, or one that the states not listed cannot make up
    without one of them passing the smallest that is.
    """
    listed = -np.sort(-_validate_logprobs(logprobs, vocab_size), axis=-1)
    tail = _build_tail(listed, vocab_size)
    p = np.exp(listed)
    seen = -(p * np.where(p > 0.0, listed, 0.0)).sum(-1)
    entropy = tail.sum_interval(_entropy_terms, concave=True)
    purity = tail.sum_interval(np.square, concave=False)
    squares = (p * p).sum(-1)
    return Bounds(
        listed,
        vocab_size,
        Interval(seen + entropy.low, seen + entropy.high),
        Interval(squares + purity.low, squares + purity.high),
        Interval(tail.mass, tail.mass),
    )


def _entropy_terms(p: Floats) -> Floats:
    return -p * np.log(np.where(p > 0.0, p, 1.0))


def _validate_logprobs(logprobs: Any, vocab_size: int) -> Floats:
    """The list as float64, refused where its entries or its length make no sense."""
    listed = as_array(logprobs).astype(np.float64)
    if listed.ndim == 0 or not 1 <= listed.shape[-1] <= vocab_size:
        raise BadInput(f"A list of shape {listed.shape} does not fit {vocab_size} states: list from 1 to all of them.")
    if np.isnan(listed).any():
        raise NotANumber(f"The log-probabilities hold a NaN at {_first_index(np.isnan(listed))}.")
    if (listed > TOLERANCE).any():
        where = _first_index(listed > TOLERANCE)
        raise BadInput(f"{listed[where]:g} at {where} is no log-probability: give logarithms of numbers up to 1.")
    return np.minimum(listed, 0.0)


def _build_tail(listed: Floats, vocab_size: int) -> _Tail:
    """What is left for the states that are not in a sorted list."""
    p = np.exp(listed)
    left, most, states = 1.0 - p.sum(-1), p[..., -1], vocab_size - listed.shape[-1]
    if (left < -TOLERANCE).any():
        where = _first_index(left < -TOLERANCE)
        raise BadInput(f"The list {where} sums to {1.0 - left[where]:.6g}, above 1: give log-probabilities at T = 1.")
    short = left > states * most + TOLERANCE
    if short.any():
        where = _first_index(short)
        raise BadInput(
            f"The list {where} leaves {left[where]:.6g} to {states} states of at most {most[where]:.3g} each: "
            "it is not the most probable states, or the vocabulary is larger."
        )
    return _Tail(np.clip(left, 0.0, states * most), most, states)


def _first_index(bad: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(bad)[0])
