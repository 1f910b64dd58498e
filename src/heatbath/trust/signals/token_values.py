"""Numbers at the tokens of many answers, and their aggregation to one number for each answer.

The tokens of all answers lie in one flat array. Aggregations are monotone in every token, so that that of lower ends
is a lower end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.trust.signals.base import Aggregation, Floats, middle

DECISION_SHARE = 0.2
"""The share of an answer's tokens that are its decision tokens: those of the highest entropy."""


@dataclass(frozen=True)
class TokenValues:
    """A number at each token, flat (N,): `lower` <= truth <= `upper`; NaN where it is not known, for the `reason`.

    `present` is False where a token has no such number; None if all have one. `note` is said of each value.
    """

    value: Floats
    lower: Floats
    upper: Floats
    reason: str = ""
    note: str = ""
    present: NDArray[np.bool_] | None = None

    @classmethod
    def exact(cls, value: Floats) -> TokenValues:
        """Return numbers without an error."""
        return cls(value, value, value)

    @classmethod
    def interval(cls, lower: Floats, upper: Floats, value: Floats | None = None, **more: Any) -> TokenValues:
        """Return intervals; their middle is the value where none is given."""
        return cls(np.asarray(middle(lower, upper)) if value is None else value, lower, upper, **more)

    @classmethod
    def missing(cls, count: int, reason: str) -> TokenValues:
        """Return `count` values that are not known."""
        unknown = np.full(count, np.nan)
        return cls(unknown, unknown, unknown, reason)

    def map(self, function: Callable[[Floats], Floats], *, falls: bool = False) -> TokenValues:
        """Return a monotone function of the values, one that `falls` or one that rises."""
        low, high = (self.upper, self.lower) if falls else (self.lower, self.upper)
        value = function(self.value)
        is_exact = self.value is self.lower is self.upper
        ends = (value, value) if is_exact else (function(low), function(high))
        return TokenValues(value, *ends, self.reason, self.note, self.present)

    @property
    def is_exact(self) -> bool:
        """True if no value has an error."""
        return self.lower is self.upper or np.array_equal(self.lower, self.upper, equal_nan=True)


@dataclass(frozen=True)
class Segments:
    """The lengths of answers whose tokens lie in one flat array; none of them is 0."""

    lengths: NDArray[np.int64]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        """The answer of each token."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def sum(self, values: Floats) -> Floats:
        return np.asarray(np.add.reduceat(values, self.starts)) if len(self.lengths) else np.zeros(0)

    def count(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the number of tokens of each answer in a mask."""
        return self.sum(mask.astype(np.float64)).astype(np.int64)

    def rank(self, keys: Floats) -> NDArray[np.int64]:
        """Return the place of each token within its answer by ascending key, ties by position."""
        order = np.lexsort((keys, self.answers))
        places = np.empty(len(keys), np.int64)
        places[order] = np.arange(len(keys)) - self.starts[self.answers]
        return places


@dataclass(frozen=True)
class Decisions:
    """The decision tokens: `mask` (N,), `counts` (n,) of each answer, `certain_mask` (n,) where it is known which."""

    mask: NDArray[np.bool_]
    counts: NDArray[np.int64]
    certain_mask: NDArray[np.bool_]

    def keep(self, segments: Segments, present: NDArray[np.bool_]) -> Decisions:
        """Return the decision tokens among those that are `present`."""
        mask = self.mask & present
        return Decisions(mask[present], segments.count(mask), self.certain_mask)


def choose_decisions(entropy: TokenValues, segments: Segments, given: NDArray[np.bool_] | None = None) -> Decisions:
    """Return the decision tokens: those `given`, or in each answer the `DECISION_SHARE` of the highest entropy."""
    if given is not None:
        return Decisions(given, segments.count(given), np.ones(len(segments.lengths), bool))
    counts = np.ceil(DECISION_SHARE * segments.lengths).astype(np.int64)
    mask = segments.rank(-entropy.value) < counts[segments.answers]
    return Decisions(mask, counts, segments.count(entropy.lower != entropy.upper) == 0)


def aggregate_tokens(
    values: TokenValues, segments: Segments, aggregation: Aggregation, decisions: Decisions
) -> tuple[Floats, Floats, Floats]:
    """Return value, lower and upper end of each answer, (n,) each; NaN without a token that counts."""
    if values.present is not None:
        decisions = decisions.keep(segments, values.present)
        kept = segments.count(values.present)
        some, present = kept > 0, values.present
        ends = (values.value[present], values.lower[present], values.upper[present])
        found = aggregate_tokens(TokenValues(*ends), Segments(kept[some]), aggregation, _drop_empty(decisions, some))
        spread = [np.full(len(kept), np.nan) for _ in found]
        for into, part in zip(spread, found, strict=True):
            into[some] = part
        return spread[0], spread[1], spread[2]
    if aggregation == "decision":
        return _aggregate_decisions(values, segments, decisions)
    reduce = _REDUCTIONS[aggregation]
    value = reduce(values.value, segments)
    if values.lower is values.upper is values.value:
        return value, value, value
    return value, reduce(values.lower, segments), reduce(values.upper, segments)


def _drop_empty(decisions: Decisions, some: NDArray[np.bool_]) -> Decisions:
    return Decisions(decisions.mask, decisions.counts[some], decisions.certain_mask[some])


def _aggregate_decisions(
    values: TokenValues, segments: Segments, decisions: Decisions
) -> tuple[Floats, Floats, Floats]:
    """The mean over decision tokens; over the least and the greatest as many where it is not certain which they are."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value, lower, upper = (
            segments.sum(np.where(decisions.mask, each, 0.0)) / decisions.counts
            for each in (values.value, values.lower, values.upper)
        )
        if decisions.certain_mask.all():
            return value, lower, upper
        counts = decisions.counts[segments.answers]
        least = segments.sum(np.where(segments.rank(values.lower) < counts, values.lower, 0.0)) / decisions.counts
        most = segments.sum(np.where(segments.rank(-values.upper) < counts, values.upper, 0.0)) / decisions.counts
    certain = decisions.certain_mask
    return value, np.where(certain, lower, least), np.where(certain, upper, most)


def _reduce_with(ufunc: np.ufunc) -> Callable[[Floats, Segments], Floats]:
    def reduce(values: Floats, segments: Segments) -> Floats:
        return np.asarray(ufunc.reduceat(values, segments.starts)) if len(segments.lengths) else np.zeros(0)

    return reduce


_REDUCTIONS: Mapping[str, Callable[[Floats, Segments], Floats]] = {
    "sum": _reduce_with(np.add),
    "mean": lambda values, segments: segments.sum(values) / segments.lengths,
    "min": _reduce_with(np.minimum),
    "max": _reduce_with(np.maximum),
    "last": lambda values, segments: values[segments.starts + segments.lengths - 1],
}
