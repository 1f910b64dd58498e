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

from heatbath.ensemble.rows import plain
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

    listed: Floats
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
            zero = np.zeros(self.listed.shape[:-1])
            return Interval(zero, zero)
        tail = _tail(self.listed, self.vocab_size)
        sums = tail.between(lambda p: np.where(p > 0.0, p, 1.0) ** beta * (p > 0.0), concave=beta < 1.0)
        seen = np.where(np.isneginf(self.listed), 0.0, np.exp(beta * np.maximum(self.listed, -1e300)))
        total = [seen.sum(-1) + part for part in (sums.low, sums.high)]
        return Interval(np.log(total[0]), np.log(total[1]))


@dataclass(frozen=True)
class _Tail:
    """`mass` (…) on `states` states that are not listed, none above `most` (…)."""

    mass: Floats
    most: Floats
    states: int

    def between(self, function: Callable[[Floats], Floats], *, concave: bool) -> Interval:
        """The least and the most that a sum of a concave or convex function with f(0) = 0 can be over the tail."""
        if self.states == 0:
            return Interval(np.zeros_like(self.mass), np.zeros_like(self.mass))
        even = self.states * function(self.mass / self.states)
        full = np.floor(np.divide(self.mass, self.most, out=np.zeros_like(self.mass), where=self.most > 0.0))
        rest = np.maximum(self.mass - full * self.most, 0.0)
        packed = full * function(self.most) + function(rest)
        return Interval(np.minimum(even, packed), np.maximum(even, packed))


def bounds(logprobs: Any, vocab_size: int) -> Bounds:
    """What the log-probabilities (…, k) of the k most probable of `vocab_size` states say about all of them.

    In any order. Raises NotANumber for a NaN, and BadInput where no distribution has this list: a positive
    log-probability, more than `vocab_size` entries, a mass above 1, or one that the states not listed cannot make up
    without one of them passing the smallest that is.
    """
    listed = -np.sort(-_checked(logprobs, vocab_size), axis=-1)
    tail = _tail(listed, vocab_size)
    p = np.exp(listed)
    seen = -(p * np.where(p > 0.0, listed, 0.0)).sum(-1)
    entropy = tail.between(_surprise, concave=True)
    purity = tail.between(np.square, concave=False)
    squares = (p * p).sum(-1)
    return Bounds(
        listed,
        vocab_size,
        Interval(seen + entropy.low, seen + entropy.high),
        Interval(squares + purity.low, squares + purity.high),
        Interval(tail.mass, tail.mass),
    )


def _surprise(p: Floats) -> Floats:
    return -p * np.log(np.where(p > 0.0, p, 1.0))


def _checked(logprobs: Any, vocab_size: int) -> Floats:
    """The list as float64, refused where its entries or its length make no sense."""
    listed = plain(logprobs).astype(np.float64)
    if listed.ndim == 0 or not 1 <= listed.shape[-1] <= vocab_size:
        raise BadInput(f"A list of shape {listed.shape} does not fit {vocab_size} states: list from 1 to all of them.")
    if np.isnan(listed).any():
        raise NotANumber(f"The log-probabilities hold a NaN at {_first(np.isnan(listed))}.")
    if (listed > TOLERANCE).any():
        where = _first(listed > TOLERANCE)
        raise BadInput(f"{listed[where]:g} at {where} is no log-probability: give logarithms of numbers up to 1.")
    return np.minimum(listed, 0.0)


def _tail(listed: Floats, vocab_size: int) -> _Tail:
    """What is left for the states that are not in a sorted list."""
    p = np.exp(listed)
    left, most, states = 1.0 - p.sum(-1), p[..., -1], vocab_size - listed.shape[-1]
    if (left < -TOLERANCE).any():
        where = _first(left < -TOLERANCE)
        raise BadInput(f"The list {where} sums to {1.0 - left[where]:.6g}, above 1: give log-probabilities at T = 1.")
    short = left > states * most + TOLERANCE
    if short.any():
        where = _first(short)
        raise BadInput(
            f"The list {where} leaves {left[where]:.6g} to {states} states of at most {most[where]:.3g} each: "
            "it is not the most probable states, or the vocabulary is larger."
        )
    return _Tail(np.clip(left, 0.0, states * most), most, states)


def _first(bad: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(bad)[0])
