"""The batch of prefixes that an energy is evaluated on, and helpers for fields that work row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput

Table = npt.NDArray[np.float32]
"""Energies of every next token of every row, (B, V)."""


@dataclass(frozen=True)
class Context:
    """A batch of prefixes with all that an energy may depend on.

    Attributes:
        tokens: the tokens of each row so far, prompt and completion.
        prompt_lengths: number of prompt tokens of each row, (B,).
        vocab_size: V.
        stop_token_ids: tokens that end a completion.
        finished_mask: True for rows that are finished sequences, (B,); () if none is.
        row_ids: a number per row that stays with it when batches change, (B,); () counts from 0.
        energies: the energies so far, those of the model and of the fields before, (B, V), or None.
    """

    tokens: Sequence[Sequence[int]]
    prompt_lengths: Sequence[int]
    vocab_size: int
    stop_token_ids: Sequence[int] = ()
    finished_mask: Sequence[bool] = ()
    row_ids: Sequence[int] = ()
    energies: Any = None

    def __len__(self) -> int:
        return len(self.prompt_lengths)

    def completion(self, row: int) -> Sequence[int]:
        """Return the tokens of a row after its prompt, without the stop token that ended it."""
        completion = self.tokens[row][self.prompt_lengths[row] :]
        return completion[:-1] if completion and completion[-1] in self.stop_token_ids else completion

    def is_finished(self, row: int) -> bool:
        """Return True if a row is a finished sequence."""
        return bool(self.finished_mask[row]) if len(self.finished_mask) else False

    def row_id(self, row: int) -> int:
        """Return the number that stays with a row when batches change."""
        return int(self.row_ids[row]) if len(self.row_ids) else row

    def take(self, rows: Sequence[int]) -> Context:
        """Return the context of some rows, in that order."""
        return replace(
            self,
            tokens=[self.tokens[row] for row in rows],
            prompt_lengths=[self.prompt_lengths[row] for row in rows],
            finished_mask=[self.is_finished(row) for row in rows],
            row_ids=[self.row_id(row) for row in rows],
            energies=None if self.energies is None else self.energies[list(rows)],
        )


def zero_energies(context: Context) -> Table:
    """Return energies of 0 for every row and token, (B, V) float32."""
    return np.zeros((len(context), context.vocab_size), np.float32)


def unfinished_rows(context: Context) -> list[int]:
    """Return the rows that are still being generated."""
    return [row for row in range(len(context)) if not context.is_finished(row)]


def validate_stop_token_ids(context: Context, name: str) -> list[int]:
    """Return the stop tokens. Raises `BadInput` with the name of the field for one outside the vocabulary."""
    for token in context.stop_token_ids:
        if not 0 <= token < context.vocab_size:
            raise BadInput(f"field {name!r}: stop token {token} is outside the vocabulary of {context.vocab_size}.")
    return list(context.stop_token_ids)


def validate_vocab_size(context: Context, size: int, name: str) -> None:
    """Raise `BadInput` unless the context has the vocabulary size that the field was built for."""
    if context.vocab_size != size:
        raise BadInput(
            f"field {name!r} was built for a vocabulary of {size} tokens, got {context.vocab_size}: "
            "build it from the model that generates."
        )


def validate_count(value: int | None, name: str, minimum: int = 1) -> int | None:
    """Return a whole number of at least `minimum`, or None. Raises `BadInput` otherwise."""
    if value is not None and (isinstance(value, bool) or int(value) != value or value < minimum):
        raise BadInput(f"{name} must be a whole number of at least {minimum}, got {value}.")
    return None if value is None else int(value)
