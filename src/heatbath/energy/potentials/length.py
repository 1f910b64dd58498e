"""Potentials on the length of a completion and on truncation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from heatbath.energy.base import Context, Potential
from heatbath.energy.potentials.completion_text import INCOMPLETE_CHARACTER, DecodeFunction, Floats
from heatbath.energy.spec import BuildContext, Spec
from heatbath.errors import BadInput

TokenCounter = Callable[[Sequence[int]], int]


class Length(Potential):
    r"""$(n - \text{target})^2 / 2\,\text{width}^2$ nats for a completion of length n, (B,).

    n is `count(tokens)`: by default the number of tokens; `word_counter` and `character_counter` build other counters.
    With `hard` the energy is 0 within `width` of the target and +inf beyond. The stop token does not count. Lengths
    only grow, so a prefix costs nothing up to the target.

    Raises:
        BadInput: a negative target, or a width that is not above 0 (with `hard`, below 0).
    """

    scores_prefixes = True

    def __init__(
        self, target: float, width: float, *, count: TokenCounter = len, hard: bool = False, name: str = "length"
    ) -> None:
        if not 0 <= target < np.inf:
            raise BadInput(f"`target` of potential {name!r} must be finite and at least 0, got {target}.")
        if not (0 < width < np.inf or (hard and width == 0)):
            raise BadInput(f"`width` of potential {name!r} must be finite and above 0, got {width}.")
        self.target, self.width, self.hard = float(target), float(width), hard
        self.count = count
        self.name = name

    def __call__(self, context: Context) -> Floats:
        rows = range(len(context))
        off = np.array([self.count(context.completion(row)) for row in rows], np.float64) - self.target
        unfinished = np.array([not context.is_finished(row) for row in rows], np.bool_)
        off[unfinished & (off < 0)] = 0.0
        if self.hard:
            return np.where(np.abs(off) > self.width, np.inf, 0.0)
        return np.asarray(0.5 * (off / self.width) ** 2)


class TruncationPenalty(Potential):
    """`weight` nats for a completion truncated at the maximal length, 0 for one that ends with a stop token, (B,).

    With the default of +inf the distribution is that of completions which fit, and log Z is the log-probability of
    fitting. Prefixes cost nothing. Raises `BadInput` for a weight below 0 or NaN.
    """

    scores_prefixes = True

    def __init__(self, weight: float = np.inf, *, name: str = "finished") -> None:
        if not weight >= 0:
            raise BadInput(f"`weight` of potential {name!r} must be at least 0 nats, got {weight}.")
        self.weight = float(weight)
        self.name = name

    def __call__(self, context: Context) -> Floats:
        return np.asarray([self.weight if self._is_truncated(context, row) else 0.0 for row in range(len(context))])

    def _is_truncated(self, context: Context, row: int) -> bool:
        completion = context.tokens[row][context.prompt_lengths[row] :]
        return context.is_finished(row) and not (len(completion) and completion[-1] in context.stop_token_ids)


def word_counter(decode: DecodeFunction) -> TokenCounter:
    """Return a counter of words separated by white space; an incomplete character at the end does not count."""
    return lambda tokens: len(decode(tokens).rstrip(INCOMPLETE_CHARACTER).split())


def character_counter(decode: DecodeFunction) -> TokenCounter:
    """Return a counter of characters; an incomplete character at the end counts as one."""
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


def _build_finished(context: BuildContext, weight: float = float("inf")) -> Potential:
    return TruncationPenalty(weight)


SPECS = (
    Spec("length", "potential", _build_length, '{"target": 20, "width": 4, "of": "words"}', order=20),
    Spec("finished", "potential", _build_finished, order=30),
)
