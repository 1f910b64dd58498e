"""Checks of token ids, rows and lengths that all sessions and pools share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput

Ints = npt.NDArray[np.int64]


def validate_token_ids(tokens: npt.NDArray[Any], vocab_size: int) -> Ints:
    """Return token ids as int64. Raises `BadInput` for an id that is not in the vocabulary."""
    if not tokens.size:
        return tokens.astype(np.int64)
    if tokens.dtype.kind not in "iu":
        raise BadInput(f"token id {tokens.flat[0]} is not an integer: encode(text) gives token ids.")
    wrong = tokens[(tokens < 0) | (tokens >= vocab_size)]
    if wrong.size:
        raise BadInput(
            f"token id {wrong[0]} is outside the vocabulary of {vocab_size}: give ids from 0 to {vocab_size - 1}."
        )
    return tokens.astype(np.int64, copy=False)


def validate_push(tokens: Sequence[int], rows: int, vocab_size: int) -> Ints:
    """Return the tokens (B,) to append to `rows` rows. Raises `BadInput` unless there is one valid id per row."""
    column = np.asarray(tokens)
    if column.shape != (rows,):
        raise BadInput(f"push takes one token id for each of {rows} rows, not {column.tolist()!r:.60}.")
    return validate_token_ids(column, vocab_size)


def validate_fork(indices: Sequence[int], rows: int) -> Ints:
    """Return the row numbers to keep. Raises `BadInput` for no rows, or for a number outside them."""
    numbers = np.asarray(indices)
    is_list = numbers.ndim == 1 and numbers.size and numbers.dtype.kind in "iu"
    if not is_list or numbers.min() < 0 or numbers.max() >= rows:
        raise BadInput(f"fork takes row numbers from 0 to {rows - 1}, at least one, not {numbers.tolist()!r:.60}.")
    return numbers.astype(np.int64, copy=False)


def validate_context_length(length: int, context_length: int | None) -> None:
    """Raise `BadInput` when a sequence would be longer than the model can read."""
    if context_length is not None and length > context_length:
        raise BadInput(f"{length} tokens are more than the {context_length} the model can read: give a shorter text.")
