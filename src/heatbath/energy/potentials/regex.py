"""A potential on completions that match a regular expression."""

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
    r"""0 if the text of a completion fully matches `pattern`, else `weight` nats (+inf by default), (B,).

    A prefix costs nothing while some continuation can still match. The pattern has the syntax of the `regex` package; ^
    and $ may be omitted. With look-around, (?=…), (?!…), (?<=…), (?<!…), word boundaries (\b, \B, \m, \M) or reverse
    search, (?r), partial matching may take the end of a prefix for the end of the completion: such patterns are
    evaluated only on finished sequences (`scores_prefixes` is False).

    Raises:
        BadInput: a pattern that cannot be compiled, a weight that is negative or NaN.
    """

    def __init__(self, pattern: str, decode: DecodeFunction, *, weight: float = np.inf, name: str = "regex") -> None:
        import regex

        if not weight >= 0:
            raise BadInput(f"`weight` of potential {name!r} must be at least 0 nats, or inf to forbid, got {weight}.")
        try:
            self._pattern: Any = regex.compile(pattern)
        except regex.error as error:
            raise BadInput(f"the pattern {pattern!r} is not a valid regular expression: {error}.") from error
        self.pattern = pattern
        self.scores_prefixes = not (_has_lookaround(pattern) or self._pattern.flags & regex.REVERSE)
        self.weight = float(weight)
        self.name = name
        self._decode = decode

    def __call__(self, context: Context) -> Floats:
        texts = completion_texts(context, self._decode)
        mismatches = [not self._matches(text, not context.is_finished(row)) for row, text in enumerate(texts)]
        return np.where(mismatches, self.weight, 0.0)

    def _matches(self, text: str, partial: bool) -> bool:
        try:
            return self._pattern.fullmatch(text, partial=partial, timeout=_TIMEOUT_SECONDS) is not None
        except TimeoutError:
            raise BadInput(
                f"the pattern {self.pattern!r:.60} takes more than {_TIMEOUT_SECONDS:g} s to match: simplify it."
            ) from None


def _has_lookaround(pattern: str) -> bool:
    """Return True if the pattern contains a look-around or a word boundary, or text that resembles one."""
    escaped = re.findall(r"\\(.)", pattern, re.DOTALL)
    return re.search(r"\(\?<?[=!]", pattern) is not None or not set("bBmM").isdisjoint(escaped)


def _build_regex(context: BuildContext, pattern: str, *, weight: float = float("inf")) -> Potential:
    return Regex(str(pattern), context.model.decode, weight=weight)


SPEC = Spec("regex", "potential", _build_regex, "[0-9]+", order=10)
