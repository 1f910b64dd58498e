"""A pool of sessions, one per row, for any model: exact, or with layers that keep more than keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heatbath.models.base import ChunkedSession, Model, Session, Tokens
from heatbath.models.pool.base import PoolStats, row_not_open_error, validate_pool_push, validate_rows
from heatbath.models.validation import validate_context_length


class PerRowPool:
    """A pool that evaluates every row alone, so that its rounding does not depend on other rows."""

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
        ids = validate_pool_push(rows, tokens, self._model.vocabulary.size)
        sessions = [self._session(row) for row in rows]
        longest = max((len(session.tokens[0]) for session in sessions), default=0)
        validate_context_length(longest + 1, self._model.context_length)
        for session, token in zip(sessions, ids, strict=True):
            session.push([token])

    def copy(self, row: int) -> int:
        return self._register_session(self._model.open([self.tokens(row)]))

    def close(self, rows: Sequence[int], *, keep: bool = True) -> None:
        for row in rows:
            self._session(row)
        for row in rows:
            self._sessions.pop(row, None)

    def count_unread(self, rows: Sequence[int] | None = None) -> int:
        selected = self._sessions.values() if rows is None else [self._session(row) for row in rows]
        return sum(session.num_unread for session in selected if isinstance(session, ChunkedSession))

    def read_piece(self, seconds: float | None = None) -> bool:
        for session in self._sessions.values():
            if isinstance(session, ChunkedSession) and session.num_unread:
                session.read_chunk()
                return True
        return False

    def energies(self, rows: Sequence[int]) -> Any:
        parts = [self._session(row).energies() for row in validate_rows(rows)]
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
