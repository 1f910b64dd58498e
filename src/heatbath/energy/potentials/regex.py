"""Answers that match a regular expression."""

from __future__ import annotations

from typing import Any

import numpy as np

from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials.text import Decode, Floats, answers
from heatbath.errors import BadInput


class Regex(Potential):
    r"""0 where the text of an answer matches `pattern` from end to end, else `weight` nats (+inf unless given), (B,).

    A prefix costs nothing while some continuation can still match. The pattern is one of the `regex` package; \Z, ^
    and $ may be left out. Look-behind and look-ahead are taken as they are by its partial matching, which may let a
    prefix pass that leads nowhere; it never stops one that leads to a match.

    Raises:
        BadInput: a pattern that cannot be compiled, a weight that is negative or NaN.
    """

    scores_prefixes = True

    def __init__(self, pattern: str, decode: Decode, *, weight: float = np.inf, name: str = "regex") -> None:
        import regex

        if not weight >= 0:
            raise BadInput(f"the weight of potential {name!r} is {weight}: give nats from 0 up, or inf to forbid.")
        try:
            self._pattern: Any = regex.compile(pattern)
        except regex.error as error:
            raise BadInput(f"the pattern {pattern!r} is no regular expression: {error}.") from error
        self.pattern = pattern
        self.weight = float(weight)
        self.name = name
        self._decode = decode

    def __call__(self, context: Context) -> Floats:
        texts = answers(context, self._decode)
        wrong = [not self._matches(text, not context.whole(row)) for row, text in enumerate(texts)]
        return np.where(wrong, self.weight, 0.0)

    def _matches(self, text: str, partial: bool) -> bool:
        return self._pattern.fullmatch(text, partial=partial) is not None
