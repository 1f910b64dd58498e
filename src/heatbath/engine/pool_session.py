"""Sessions on rows of a pool, which they may share with other sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heatbath.decode.base import OpenSession
from heatbath.errors import BadInput
from heatbath.models import RestrictedModel
from heatbath.models.base import Model, Session, Tokens
from heatbath.models.pool.base import Pool
from heatbath.models.pool.open_pool import build_fast_pool

PREFIX_BYTES = 256 << 20
"""Memory for the prefixes that the rows of one run share."""


def find_fast_opener(model: Model) -> OpenSession | None:
    """Return a function that opens sessions on the fast CPU decoder; None for a model that the decoder cannot run.

    The sessions share a pool of their own, which is freed with the last of them.
    """
    if isinstance(model, RestrictedModel):
        restricted, opener = model, find_fast_opener(model.base_model)
        return None if opener is None else lambda prompts: restricted.restrict_session(opener(prompts))
    pool = build_fast_pool(model, prefix_bytes=PREFIX_BYTES)
    return None if pool is None else PoolRows(model, pool, keep=False).open


class PoolRows:
    """The rows of a pool that belong to one request or run, at most `limit` at once.

    Prefixes cached under `salt` are used; with `keep`, those of closed rows are cached.
    """

    def __init__(
        self, model: Model, pool: Pool, *, salt: bytes = b"", limit: int | None = None, keep: bool = True
    ) -> None:
        self.pool = pool
        self.open_rows: set[int] = set()
        self._start, self._salt, self._limit, self._keep = list(model.vocabulary.start_token_ids), salt, limit, keep

    def open(self, prompts: Sequence[Tokens]) -> PoolSession:
        """Open a session on a batch of prompts. Raises `BadInput` if that exceeds the limit of rows."""
        self._validate_count(len(prompts))
        rows = self.pool.open([list(prompt) or self._start for prompt in prompts], salt=self._salt)
        self.open_rows.update(rows)
        return PoolSession(self.pool, rows, self)

    def fork(self, rows: Sequence[int], indices: Sequence[int]) -> list[int]:
        """Return rows for the places `indices`: each row once, copies for repeats. Rows at no index are closed."""
        used: set[int] = set()
        self._validate_count(len(indices) - len(rows))
        forked = []
        for index in indices:
            forked.append(self.pool.copy(rows[index]) if index in used else rows[index])
            used.add(index)
        self.open_rows.update(forked)
        self.close([row for index, row in enumerate(rows) if index not in used])
        return forked

    def close(self, rows: Sequence[int]) -> None:
        """Close those of `rows` that are open."""
        still_open = [row for row in rows if row in self.open_rows]
        self.open_rows.difference_update(still_open)
        if still_open:
            self.pool.close(still_open, keep=self._keep)

    def close_all(self) -> None:
        """Close all rows."""
        self.close(sorted(self.open_rows))

    def _validate_count(self, num_new: int) -> None:
        rows = len(self.open_rows) + num_new
        if self._limit is not None and rows > self._limit:
            raise BadInput(f"the sampler needs {rows} rows, and there are {self._limit}: ask for fewer.")


class PoolSession(Session):
    """A session on rows of a pool, which a host may evaluate together with the rows of other sessions.

    Its `owner` copies rows and closes those that leave; without an owner rows stay open and cannot be copied.
    """

    def __init__(self, pool: Pool, rows: Sequence[int], owner: PoolRows | None = None) -> None:
        self.rows = list(rows)
        self._pool, self._owner = pool, owner
        self._energies: Any = None

    @property
    def tokens(self) -> Sequence[Tokens]:
        return _RowTokens(self._pool, self.rows)

    def energies(self) -> Any:
        if self._energies is None:
            self._energies = self._pool.energies(self.rows)
        return self._energies

    def push(self, tokens: Sequence[int]) -> None:
        self._pool.push(self.rows, [int(token) for token in tokens])
        self._energies = None

    def fork(self, indices: Sequence[int]) -> None:
        places = [int(index) for index in indices]
        if places == list(range(len(self.rows))):
            return
        same = [self.rows[index] for index in places]
        self.rows = same if self._owner is None else self._owner.fork(self.rows, places)
        self._energies = None

    def concatenate(self, other: PoolSession) -> PoolSession:
        """Return a session without an owner on the rows of both."""
        return PoolSession(self._pool, [*self.rows, *other.rows])

    def close(self) -> None:
        if self._owner is not None:
            self._owner.close(self.rows)
        self.rows, self._energies = [], None


class _RowTokens(Sequence[Tokens]):
    """The tokens of rows of a pool, looked up on access."""

    def __init__(self, pool: Pool, rows: Sequence[int]) -> None:
        self._pool, self._rows = pool, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self._pool.tokens(number) for number in self._rows[row]]
        return self._pool.tokens(self._rows[row])
