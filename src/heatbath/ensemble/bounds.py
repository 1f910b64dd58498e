r"""Rigorous bounds on an ensemble from its k most probable states.

Of V states k are listed, with probabilities down to $p_k$. The others share the mass $m=1-\sum p$ among $V-k$ states,
none above $p_k$. A concave sum over them is largest if all are equal and smallest if as many as possible have $p_k$,
one has the remainder and the rest 0; for a convex sum it is the reverse. Both bounds are attained where the given
log-probabilities are exact. Otherwise each is an interval, and so are m and the largest probability of a state that is
not listed; the bounds hold for all distributions within these intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.rounding import logprob_rounding
from heatbath.ensemble.row_layout import as_array
from heatbath.errors import BadInput, NotANumber
from heatbath.short_repr import short_repr

Floats = npt.NDArray[np.float64]

TOLERANCE = 1e-4
"""Tolerance on the total mass beyond the rounding of the log-probabilities."""
ARITHMETIC_ERROR = 1e-15
"""Error of a sum of probabilities in float64."""


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

    `entropy` in nats, `purity` Σp², `tail_mass` the probability of the states that are not listed. `rounding` (…, k) is
    the error of the log-probabilities that the bounds allow for, nats.
    """

    logprobs: Floats
    vocab_size: int
    entropy: Interval
    purity: Interval
    tail_mass: Interval
    rounding: Floats

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
        tail = _build_tail(self.logprobs, self.rounding, self.vocab_size)
        powers = tail.sum_interval(lambda p: np.where(p > 0.0, p, 1.0) ** beta * (p > 0.0), concave=beta < 1.0)
        is_listed = np.isfinite(self.logprobs)
        ends = (np.where(is_listed, p, 0.0) for p in _logprob_ends(self.logprobs, self.rounding))
        low, high = ((np.exp(beta * end) * is_listed).sum(-1) for end in ends)
        with np.errstate(divide="ignore"):
            found = np.log(low + powers.low), np.log(high + powers.high)
        # All probabilities together are 1, which bounds the sum of their powers too.
        even = (1.0 - beta) * math.log(self.vocab_size)
        return _clip_interval(*found, limits=(min(0.0, even), max(0.0, even)))


@dataclass(frozen=True)
class _Tail:
    """Mass (…) between two ends on `num_states` states that are not listed, none above `max_probability` (…)."""

    least_mass: Floats
    mass: Floats
    max_probability: Floats
    num_states: int

    def sum_interval(self, function: Callable[[Floats], Floats], *, concave: bool) -> Interval:
        """Bound the sum over the tail of a concave or convex function with f(0) = 0, increasing up to 1/e at least."""
        if self.num_states == 0:
            return Interval(np.zeros_like(self.mass), np.zeros_like(self.mass))
        # An even spread is monotone in the mass but for a concave function of one or two states.
        peak = np.clip(self.num_states / math.e, self.least_mass, self.mass) if concave else self.least_mass
        even = [self._even_sum(function, mass) for mass in (self.least_mass, self.mass, peak)]
        packed = [self._packed_sum(function, mass) for mass in self._packed_extremes()]
        low, high = (packed, even) if concave else (even, packed)
        return Interval(np.min(low, axis=0), np.max(high, axis=0))

    def _even_sum(self, function: Callable[[Floats], Floats], mass: Floats) -> Floats:
        return np.asarray(self.num_states * function(mass / self.num_states))

    def _packed_sum(self, function: Callable[[Floats], Floats], mass: Floats) -> Floats:
        top = self.max_probability
        count = np.floor(np.divide(mass, top, out=np.zeros_like(mass), where=top > 0.0))
        remainder = mass - count * top
        # What the arithmetic of the mass leaves over is no state of its own, which would count at beta near 0.
        remainder = np.where(remainder > ARITHMETIC_ERROR, remainder, 0.0)
        return np.asarray(count * function(top) + function(remainder))

    def _packed_extremes(self) -> list[Floats]:
        """Return the masses at which a packed sum can be extreme: both ends, and where one or two states are full."""
        full = [np.clip(count * self.max_probability, self.least_mass, self.mass) for count in (1, 2)]
        return [self.least_mass, self.mass, *full]


def bounds(logprobs: Any, vocab_size: int, *, rounding: Any = None) -> Bounds:
    """Bound entropy, purity and tail mass from the log-probabilities (…, k) of the k most probable states.

    `logprobs` may have any order; `vocab_size` is the number of all states. The bounds hold for all distributions whose
    log-probabilities are within `rounding` (nats, one number or (…, k)) of the given ones. By default it follows from
    the numbers (`heatbath.ensemble.rounding`): half a unit of the last decimal where a server printed few decimals,
    otherwise the rounding of their format and of a sum over the vocabulary in it; 0 takes them as exact. Raises
    `NotANumber` for a NaN, and `BadInput` if no distribution has this list: a positive log-probability, more than
    `vocab_size` entries, a mass above 1, or so little mass that a state not listed would have to exceed the smallest
    one listed.
    """
    given = _validate_logprobs(logprobs, vocab_size)
    errors = logprob_rounding(logprobs, given, vocab_size, rounding)
    order = np.argsort(-given, axis=-1, kind="stable")
    listed, errors = np.take_along_axis(given, order, -1), np.take_along_axis(errors, order, -1)
    errors = _widen_to_unit_mass(listed, errors)
    tail = _build_tail(listed, errors, vocab_size)
    low, high = (np.exp(end) for end in _logprob_ends(listed, errors))
    # The entropy of one state rises up to p = 1/e and falls from there on.
    ends = _entropy_terms(low), _entropy_terms(high)
    peak = np.where((low < 1 / math.e) & (high > 1 / math.e), 1 / math.e, np.maximum(*ends))
    entropy = tail.sum_interval(_entropy_terms, concave=True)
    purity = tail.sum_interval(np.square, concave=False)
    return Bounds(
        listed,
        vocab_size,
        _clip_interval(
            np.minimum(*ends).sum(-1) + entropy.low, peak.sum(-1) + entropy.high, limits=(0.0, math.log(vocab_size))
        ),
        _clip_interval(
            (low * low).sum(-1) + purity.low, (high * high).sum(-1) + purity.high, limits=(1 / vocab_size, 1.0)
        ),
        Interval(tail.least_mass, tail.mass),
        errors,
    )


def _clip_interval(low: Floats, high: Floats, *, limits: tuple[float, float]) -> Interval:
    return Interval(np.clip(low, *limits), np.clip(high, *limits))


def _entropy_terms(p: Floats) -> Floats:
    return -p * np.log(np.where(p > 0.0, p, 1.0))


def _logprob_ends(listed: Floats, rounding: Floats) -> tuple[Floats, Floats]:
    """Return the lowest and the highest log-probabilities (…, k) that round to those listed."""
    return listed - rounding, np.minimum(listed + rounding, 0.0)


def _widen_to_unit_mass(listed: Floats, rounding: Floats) -> Floats:
    """Return the rounding, at least that which explains a total mass above 1 by up to `TOLERANCE`."""
    excess = np.exp(listed - rounding).sum(-1) - 1.0
    above = excess > TOLERANCE
    if above.any():
        where = _first_index(above)
        total = float(np.exp(listed).sum(-1)[where])
        raise BadInput(f"The probabilities of list {where} sum to {total:.6g}, above 1: give those at T = 1.")
    needed = np.log1p(np.maximum(excess, 0.0))[..., None]
    return np.asarray(rounding + np.where(np.isfinite(listed), needed, 0.0))


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


def _build_tail(listed: Floats, rounding: Floats, vocab_size: int) -> _Tail:
    """Return the tail that a list sorted in descending order leaves."""
    low, high = (np.exp(end) for end in _logprob_ends(listed, rounding))
    smallest = np.where(np.isneginf(listed[..., -1]), 0.0, high[..., -1])
    least, most, states = 1.0 - high.sum(-1), 1.0 - low.sum(-1), vocab_size - listed.shape[-1]
    excess = least > states * smallest + TOLERANCE
    if excess.any():
        where = _first_index(excess)
        raise BadInput(
            f"List {where} leaves {least[where]:.6g} to {states} states of at most {smallest[where]:.3g} each: "
            "these are not the most probable states, or the vocabulary is larger."
        )
    largest = states * smallest
    return _Tail(np.clip(least, 0.0, largest), np.clip(most, 0.0, largest), smallest, states)


def _first_index(bad: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(bad)[0])
