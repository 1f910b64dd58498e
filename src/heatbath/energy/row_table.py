"""What fields that work row by row share: a table of zeros, the rows that still grow, checks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context
from heatbath.errors import BadInput

Table = npt.NDArray[np.float32]


def zero_energies(context: Context) -> Table:
    """Energies of 0 for every row and token, (B, V) float32."""
    return np.zeros((len(context), context.vocab_size), np.float32)


def unfinished_rows(context: Context) -> list[int]:
    """The rows that are no whole answers yet."""
    return [row for row in range(len(context)) if not context.is_finished(row)]


def validate_stop_token_ids(context: Context, name: str) -> list[int]:
    """The stop tokens. Raises `BadInput` with the field's name for one outside the vocabulary."""
    for token in context.stop_token_ids:
        if not 0 <= token < context.vocab_size:
            raise BadInput(f"field {name!r}: stop token {token} is outside the vocabulary of {context.vocab_size}.")
    return list(context.stop_token_ids)


def validate_vocab_size(context: Context, size: int, name: str) -> None:
    """Raise `BadInput` when a field made for a vocabulary of `size` is asked about another."""
    if context.vocab_size != size:
        raise BadInput(
            f"field {name!r} was made for a vocabulary of {size}, not {context.vocab_size}: make it from this model."
        )


def validate_count(value: int | None, what: str, minimum: int = 1) -> int | None:
    """A whole number of at least `least`, or None. Raises `BadInput` otherwise."""
    if value is not None and (isinstance(value, bool) or int(value) != value or value < minimum):
        raise BadInput(f"{what} is {value}: give a whole number of at least {minimum}.")
    return None if value is None else int(value)
