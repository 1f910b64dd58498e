"""Answers of a wanted length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials.completion_text import INCOMPLETE_CHARACTER, DecodeFunction, Floats
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput

TokenCounter = Callable[[Sequence[int]], int]


class Length(Potential):
    r"""$(n - \text{target})^2 / 2\,\text{width}^2$ nats for an answer of length n, (B,).

    n is `count` of the answer's tokens: their number unless given, or `words(decode)`, or `characters(decode)`. With
    `hard` it is 0 up to `width` away from the target and +inf beyond. The stop token does not count. A prefix costs
    what it cannot lose any more: lengths only grow, so nothing up to the target.

    Raises:
        BadInput: a negative target, or a width that is not above 0 (with `hard`, below 0).
    """

    scores_prefixes = True

    def __init__(
        self, target: float, width: float, *, count: TokenCounter = len, hard: bool = False, name: str = "length"
    ) -> None:
        if not 0 <= target < np.inf:
            raise BadInput(f"the target length is {target}: give a number from 0 up.")
        if not (0 < width < np.inf or (hard and width == 0)):
            raise BadInput(f"the width of the length is {width}: give a number above 0.")
        self.target, self.width, self.hard = float(target), float(width), hard
        self.count = count
        self.name = name

    def __call__(self, context: Context) -> Floats:
        rows = range(len(context))
        off = np.array([self.count(context.completion(row)) for row in rows], np.float64) - self.target
        growing = np.array([not context.is_finished(row) for row in rows], np.bool_)
        off[growing & (off < 0)] = 0.0
        if self.hard:
            return np.where(np.abs(off) > self.width, np.inf, 0.0)
        return np.asarray(0.5 * (off / self.width) ** 2)


def word_counter(decode: DecodeFunction) -> TokenCounter:
    """Counts what white space divides; bytes at the end that make no character yet may become white space."""
    return lambda tokens: len(decode(tokens).rstrip(INCOMPLETE_CHARACTER).split())


def character_counter(decode: DecodeFunction) -> TokenCounter:
    """Counts characters; bytes at the end that make no character yet count as the one they begin."""
    return lambda tokens: len(decode(tokens))


def _build_length(
    context: BuildContext, target: float, *, width: float = 1.0, of: str = "tokens", hard: bool = False
) -> Potential:
    decode = context.model.decode
    counters: dict[str, TokenCounter] = {
        "tokens": len,
        "words": word_counter(decode),
        "characters": character_counter(decode),
    }
    if of not in counters:
        raise BadInput(f"a length is one of {', '.join(counters)}, not of {of!r}.")
    return Length(target, width, count=counters[of], hard=hard)


SPEC = Spec("length", "potential", _build_length, '{"target": 20, "width": 4, "of": "words"}', order=20)
