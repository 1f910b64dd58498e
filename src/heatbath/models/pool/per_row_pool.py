"""A pool of sessions, one a row: for any model, exact or with layers that keep more than keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heatbath.errors import BadInput
from heatbath.models.base import Model, Session, Tokens
from heatbath.models.pool.base import PoolStats


class PerRowPool:
    """Every row is evaluated alone, so that nothing else in the pool can touch its arithmetic."""

    def __init__(self, model: Model, *, batch_invariant: bool) -> None:
        self._model = model
        self._sessions: dict[int, Session] = {}
        self._next_row = self._prompt_tokens = 0
        self.batch_invariant = batch_invariant

    @property
    def rows(self) -> Sequence[int]:
        return list(self._sessions)

    @property
    def stats(self) -> PoolStats:
        return PoolStats(rows=len(self._sessions), prefix_asked=self._prompt_tokens)

    def open(self, prompts: Sequence[Tokens], *, salt: bytes = b"") -> list[int]:
        sessions = [self._model.open([prompt]) for prompt in prompts]
        self._prompt_tokens += sum(len(session.tokens[0]) for session in sessions)
        return [self._register_session(session) for session in sessions]

    def cached_tokens(self, row: int) -> int:
        self._session(row)
        return 0

    def tokens(self, row: int) -> list[int]:
        return list(self._session(row).tokens[0])

    def push(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        ids = validate_push(rows, tokens, self._model.vocabulary.size)
        sessions = [self._session(row) for row in rows]
        validate_row_lengths(self._model.context_length, [len(session.tokens[0]) + 1 for session in sessions])
        for session, token in zip(sessions, ids, strict=True):
            session.push([token])

    def copy(self, row: int) -> int:
        return self._register_session(self._model.open([self.tokens(row)]))

    def close(self, rows: Sequence[int], *, keep: bool = True) -> None:
        for row in rows:
            self._session(row)
        for row in rows:
            self._sessions.pop(row, None)

    def energies(self, rows: Sequence[int]) -> Any:
        asked = validate_rows(rows)
        parts = [self._session(row).energies() for row in asked]
        if isinstance(parts[0], np.ndarray):
            return np.concatenate(parts)
        import torch

        return torch.cat(parts)

    def _session(self, row: int) -> Session:
        if row not in self._sessions:
            raise row_not_open_error(row)
        return self._sessions[row]

    def _register_session(self, session: Session) -> int:
        row, self._next_row = self._next_row, self._next_row + 1
        self._sessions[row] = session
        return row


def row_not_open_error(row: int) -> BadInput:
    """The error for a row that is not open."""
    return BadInput(f"row {row} is not open in this pool: it was closed or never opened.")


def validate_rows(rows: Sequence[int]) -> list[int]:
    """The rows asked for. Raises `BadInput` for none."""
    if not len(rows):
        raise BadInput("energies of no rows were asked for: name at least one.")
    return list(rows)


def validate_push(rows: Sequence[int], tokens: Sequence[int], vocab_size: int) -> list[int]:
    """The tokens, checked against the rows (each at most once) and the vocabulary. Raises `BadInput`."""
    column = np.asarray(tokens)
    if column.shape != (len(rows),) or (column.size and column.dtype.kind not in "iu"):
        raise BadInput(f"push takes one token id for each of {len(rows)} rows, not {column.tolist()!r:.60}.")
    if len(set(rows)) != len(rows):
        raise BadInput("push names a row twice: give each row at most one token.")
    wrong = column[(column < 0) | (column >= vocab_size)]
    if wrong.size:
        raise BadInput(
            f"token id {wrong[0]} is outside the vocabulary of {vocab_size}: give ids from 0 to {vocab_size - 1}."
        )
    ids: list[int] = column.tolist()
    return ids


def validate_row_lengths(context_length: int | None, lengths: Sequence[int]) -> None:
    """Raise `BadInput` when a row would grow longer than the model can read."""
    if context_length is not None and max(lengths, default=0) > context_length:
        raise BadInput(
            f"{max(lengths)} tokens are more than the {context_length} the model can read: give a shorter text."
        )
