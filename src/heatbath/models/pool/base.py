"""Pools: batches that rows join and leave at every step, as a server needs them.

The rows of a session are opened together; the rows of a pool are opened and closed one by one. Keys and values of
closed rows and of prompts are kept, and used again by later rows of the same salt that begin with the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from heatbath.errors import BadInput
from heatbath.models.base import Tokens
from heatbath.models.validation import validate_push


@dataclass(frozen=True)
class PoolStats:
    """Number of open rows; prompt tokens since the start, and those found in the prefix cache; bytes in that cache."""

    rows: int = 0
    prefix_asked: int = 0
    prefix_hit: int = 0
    prefix_bytes: int = 0


class Pool(Protocol):
    """A batch whose rows join and leave. Row numbers are never used twice; a row that is not open is a `BadInput`."""

    @property
    def rows(self) -> Sequence[int]:
        """The open rows."""

    @property
    def stats(self) -> PoolStats:
        """Counts of rows and of the prefix cache."""

    @property
    def batch_invariant(self) -> bool:
        """True if a row's energies are the same bits whatever else is in the batch."""

    def open(self, prompts: Sequence[Tokens], *, salt: bytes = b"") -> list[int]:
        """Open a row for each prompt and return their numbers. Prefixes cached under the same `salt` are used.

        Raises `BadInput` for an empty prompt of a model without a start token, an id outside the vocabulary, or a
        prompt longer than the context.
        """

    def cached_tokens(self, row: int) -> int:
        """Number of prompt tokens of a row that came from the prefix cache; final once its energies were computed."""

    def tokens(self, row: int) -> list[int]:
        """Prompt and pushed tokens of a row."""

    def push(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Append one token to each of `rows`, or to none on an error. Evaluated by the next call of `energies`."""

    def copy(self, row: int) -> int:
        """Open a new row with the same tokens and return its number."""

    def close(self, rows: Sequence[int], *, keep: bool = True) -> None:
        """Close rows and free their memory; with `keep` their prefixes go into the cache under their salt."""

    def energies(self, rows: Sequence[int]) -> Any:
        """Energies of the next token of `rows`, (n, V), nats. Evaluates the pending tokens of these rows first."""

    def count_unread(self, rows: Sequence[int] | None = None) -> int:
        """Number of tokens of `rows`, or of all rows, that `read_piece` would evaluate."""

    def read_piece(self, seconds: float | None = None) -> bool:
        """Evaluate a piece of the prompts of open rows, of about `seconds` or as large as is useful; False if none is.

        All tokens of a prompt but the last can be read in pieces, so that other rows go on between them. Energies are
        those of a prompt that is read at once, to rounding.
        """


def row_not_open_error(row: int) -> BadInput:
    """Return the error for a row that is not open."""
    return BadInput(f"row {row} is not open in this pool: it was closed or never opened.")


def validate_rows(rows: Sequence[int]) -> list[int]:
    """Return the rows whose energies are wanted. Raises `BadInput` for none."""
    if not len(rows):
        raise BadInput("`energies` takes at least one row, got no rows.")
    return list(rows)


def validate_pool_push(rows: Sequence[int], tokens: Sequence[int], vocab_size: int) -> list[int]:
    """Return the tokens to append to `rows`. Raises `BadInput` unless each row is named once and each id is valid."""
    ids: list[int] = validate_push(tokens, len(rows), vocab_size).tolist()
    if len(set(rows)) != len(rows):
        raise BadInput("push names a row twice: give each row at most one token.")
    return ids
