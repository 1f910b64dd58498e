"""Answers of a wanted length."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials.text import Decode, Floats, answers
from heatbath.errors import BadInput

_COUNTS: dict[str, Callable[[str], int]] = {"words": lambda text: len(text.split()), "characters": len}


class LengthPotential(Potential):
    r"""$(n - \text{target})^2 / 2\,\text{width}^2$ nats for an answer of n tokens, words or characters, (B,).

    With `hard`, 0 up to `width` away from the target and +inf beyond. White space divides words. The stop token does
    not count. A prefix costs what it cannot lose any more: lengths only grow, so nothing up to the target.

    Raises:
        BadInput: an unknown unit, a negative target, a width that is not above 0 (0 too with `hard`), or words and
            characters without `decode`.
    """

    scores_prefixes = True

    def __init__(
        self,
        target: float,
        width: float,
        *,
        unit: str = "tokens",
        decode: Decode | None = None,
        hard: bool = False,
        name: str = "length",
    ) -> None:
        if unit not in ("tokens", *_COUNTS):
            raise BadInput(f"length is counted in tokens, words or characters, not in {unit!r}.")
        if unit != "tokens" and decode is None:
            raise BadInput(f"to count {unit} a length needs text: give decode, the model's own for instance.")
        if not 0 <= target < np.inf:
            raise BadInput(f"the target length is {target}: give a number from 0 up.")
        if not (0 < width < np.inf or (hard and width == 0)):
            raise BadInput(f"the width of the length is {width}: give a number above 0.")
        self.target, self.width, self.unit, self.hard = float(target), float(width), unit, hard
        self.name = name
        self._decode = decode

    def __call__(self, context: Context) -> Floats:
        off = self._lengths(context) - self.target
        short = np.array([not context.whole(row) for row in range(len(context))], np.bool_) & (off < 0)
        off[short] = 0.0
        if self.hard:
            return np.where(np.abs(off) > self.width, np.inf, 0.0)
        return np.asarray(0.5 * (off / self.width) ** 2)

    def _lengths(self, context: Context) -> Floats:
        if self._decode is None or self.unit == "tokens":
            return np.array([len(context.answer(row)) for row in range(len(context))], np.float64)
        return np.array([_COUNTS[self.unit](text) for text in answers(context, self._decode)], np.float64)
