"""Fields on the length of the completion, in tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heatbath.energy.base import Context, Field
from heatbath.energy.context import Table, unfinished_rows, validate_count, validate_stop_token_ids, zero_energies
from heatbath.energy.spec import BuildContext, Range, Spec
from heatbath.errors import BadInput


@dataclass(frozen=True, repr=False)
class MinLength(Field):
    """Energy +inf for stop tokens while the completion has fewer than `n` tokens, (B, V).

    Raises `BadInput` for n < 0.
    """

    n: int
    name: str = "min_length"

    def __post_init__(self) -> None:
        validate_count(self.n, f"`n` of field {self.name!r}", 0)

    def __call__(self, context: Context) -> Table:
        ending, energies = validate_stop_token_ids(context, self.name), zero_energies(context)
        for row in unfinished_rows(context):
            if len(context.completion(row)) < self.n:
                energies[row, ending] = np.inf
        return energies


@dataclass(frozen=True, repr=False)
class MaxLength(Field):
    """Energy +inf for all but stop tokens from the `n`-th token on, (B, V): at most n - 1 tokens, then a stop token.

    With `max_tokens` = n every completion ends with a stop token instead of being truncated. Raises `BadInput` for
    n < 1, and if there are no stop tokens.
    """

    n: int
    name: str = "max_length"

    def __post_init__(self) -> None:
        validate_count(self.n, f"`n` of field {self.name!r}")

    def __call__(self, context: Context) -> Table:
        ending, energies = validate_stop_token_ids(context, self.name), zero_energies(context)
        if not ending:
            raise BadInput(f"field {self.name!r} needs a stop token to end completions, and the context has none.")
        for row in unfinished_rows(context):
            if len(context.completion(row)) >= self.n - 1:
                energies[row] = np.inf
                energies[row, ending] = 0
        return energies


@dataclass(frozen=True, repr=False)
class LengthBias(Field):
    r"""Energy `rate`, in nats, for every token that is not a stop token, (B, V).

    A completion of n tokens gets $n \cdot rate$ in total: at T = 1, and weighted by the partition functions, this
    multiplies the distribution of sequences by $e^{-rate \cdot n}$. In token-by-token sampling it multiplies the odds
    of stopping by $e^{\beta\, rate}$ at each step. A positive rate shortens, a negative one lengthens. Raises
    `BadInput` for a rate that is not finite.
    """

    rate: float
    name: str = "length"

    def __post_init__(self) -> None:
        if not abs(self.rate) < np.inf:
            raise BadInput(f"`rate` of field {self.name!r} must be a finite number of nats per token, got {self.rate}.")

    def __call__(self, context: Context) -> Table:
        ending, energies = validate_stop_token_ids(context, self.name), zero_energies(context)
        rows = unfinished_rows(context)
        energies[rows] = self.rate
        energies[:, ending] = 0
        return energies


def _build_min_length(context: BuildContext, tokens: int) -> Field:
    return MinLength(tokens)


def _build_max_length(context: BuildContext, tokens: int) -> Field:
    return MaxLength(tokens)


def _build_length_bias(context: BuildContext, rate: float) -> Field:
    return LengthBias(rate)


SPECS = (
    Spec("min_length", "field", _build_min_length, "8", order=120, ranges={"tokens": Range(0, 2**31 - 1)}),
    Spec("max_length", "field", _build_max_length, "32", order=130, ranges={"tokens": Range(1, 2**31 - 1)}),
    Spec("length_bias", "field", _build_length_bias, "0.1", order=140),
)
