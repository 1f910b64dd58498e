"""Answers that match a regular expression."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials.completion_text import DecodeFunction, Floats, completion_texts
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput

_TIMEOUT_SECONDS = 2.0


class Regex(Potential):
    r"""0 where the text of an answer matches `pattern` from end to end, else `weight` nats (+inf unless given), (B,).

    A prefix costs nothing while some continuation can still match. The pattern is one of the `regex` package; ^ and $
    may be left out. Where the pattern looks around, (?=…), (?!…), (?<=…), (?<!…), at a word boundary (\b, \B, \m, \M)
    and in reverse, (?r), partial matching may take the end of a prefix for the end of the answer: such patterns are
    asked about whole answers alone (`scores_prefixes` is False).

    Raises:
        BadInput: a pattern that cannot be compiled, a weight that is negative or NaN.
    """

    def __init__(self, pattern: str, decode: DecodeFunction, *, weight: float = np.inf, name: str = "regex") -> None:
        import regex

        if not weight >= 0:
            raise BadInput(f"the weight of potential {name!r} is {weight}: give nats from 0 up, or inf to forbid.")
        try:
            self._pattern: Any = regex.compile(pattern)
        except regex.error as error:
            raise BadInput(f"the pattern {pattern!r} is no regular expression: {error}.") from error
        self.pattern = pattern
        self.scores_prefixes = not (_has_lookaround(pattern) or self._pattern.flags & regex.REVERSE)
        self.weight = float(weight)
        self.name = name
        self._decode = decode

    def __call__(self, context: Context) -> Floats:
        texts = completion_texts(context, self._decode)
        wrong = [not self._matches(text, not context.is_finished(row)) for row, text in enumerate(texts)]
        return np.where(wrong, self.weight, 0.0)

    def _matches(self, text: str, partial: bool) -> bool:
        try:
            return self._pattern.fullmatch(text, partial=partial, timeout=_TIMEOUT_SECONDS) is not None
        except TimeoutError:
            told = f"the pattern {self.pattern!r:.60} takes more than {_TIMEOUT_SECONDS:g} s to match: write a simpler one."
            raise BadInput(told) from None


def _has_lookaround(pattern: str) -> bool:
    """Whether a look-around or a word boundary stands in the pattern, or what could be taken for one."""
    escaped = re.findall(r"\\(.)", pattern, re.DOTALL)
    return re.search(r"\(\?<?[=!]", pattern) is not None or not set("bBmM").isdisjoint(escaped)


def _build_regex(context: BuildContext, pattern: str, *, weight: float = float("inf")) -> Potential:
    return Regex(str(pattern), context.model.decode, weight=weight)


SPEC = Spec("regex", "potential", _build_regex, "[0-9]+", order=10)
