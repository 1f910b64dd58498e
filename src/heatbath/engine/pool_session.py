"""Sessions whose rows lie in a pool, among the rows of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heatbath.decode.base import OpenSession
from heatbath.errors import BadInput
from heatbath.models.base import Model, Session, Tokens
from heatbath.models.pool.base import Pool
from heatbath.models.pool.open_pool import build_fast_pool

PREFIX_BYTES = 256 << 20
"""Memory for the prefixes of prompts that the rows of one run share."""


def find_fast_opener(model: Model) -> OpenSession | None:
    """Return a function that opens sessions on the fast CPU decoder; None where the model's own serve as well.

    The rows live in a pool of their own, which is freed with the last session on it.
    """
    pool = build_fast_pool(model, prefix_bytes=PREFIX_BYTES)
    return None if pool is None else PoolRows(model, pool, keep=False).open


class PoolRows:
    """The rows of a pool that one request or run holds: opened, copied and closed together.

    At most `limit` of them at once. Cached prefixes of `salt` are used, and with `keep` those of closed rows cached.
    """

    def __init__(
        self, model: Model, pool: Pool, *, salt: bytes = b"", limit: int | None = None, keep: bool = True
    ) -> None:
        self.pool = pool
        self.held: set[int] = set()
        self._start, self._salt, self._limit, self._keep = list(model.vocabulary.start_token_ids), salt, limit, keep

    def open(self, prompts: Sequence[Tokens]) -> PoolSession:
        """A session on a batch of prompts. Raises `BadInput` where that needs more rows than there are."""
        self._check(len(prompts))
        rows = self.pool.open([list(prompt) or self._start for prompt in prompts], salt=self._salt)
        self.held.update(rows)
        return PoolSession(self.pool, rows, self)

    def fork(self, rows: Sequence[int], indices: Sequence[int]) -> list[int]:
        """The rows at `indices`: the first of equals is the row itself, the others are copies; absent ones go."""
        used: set[int] = set()
        self._check(len(indices) - len(rows))
        kept = []
        for index in indices:
            kept.append(self.pool.copy(rows[index]) if index in used else rows[index])
            used.add(index)
        self.held.update(kept)
        self.close([row for index, row in enumerate(rows) if index not in used])
        return kept

    def close(self, rows: Sequence[int]) -> None:
        """Free those of `rows` that are held."""
        held = [row for row in rows if row in self.held]
        self.held.difference_update(held)
        if held:
            self.pool.close(held, keep=self._keep)

    def close_all(self) -> None:
        """Free everything."""
        self.close(sorted(self.held))

    def _check(self, more: int) -> None:
        rows = len(self.held) + more
        if self._limit is not None and rows > self._limit:
            raise BadInput(f"the sampler needs {rows} rows, and there are {self._limit}: ask for fewer.")


class PoolSession(Session):
    """A session on rows of a pool, which a host may evaluate together with those of others.

    Rows that leave it are freed by their `owner`; without one they stay open, and rows cannot be copied.
    """

    def __init__(self, pool: Pool, rows: Sequence[int], owner: PoolRows | None = None) -> None:
        self.rows = list(rows)
        self._pool, self._owner = pool, owner
        self._energies: Any = None

    @property
    def tokens(self) -> Sequence[Tokens]:
        return _Tokens(self._pool, self.rows)

    def energies(self) -> Any:
        if self._energies is None:
            self._energies = self._pool.energies(self.rows)
        return self._energies

    def push(self, tokens: Sequence[int]) -> None:
        self._pool.push(self.rows, [int(token) for token in tokens])
        self._energies = None

    def fork(self, indices: Sequence[int]) -> None:
        chosen = [int(index) for index in indices]
        if chosen == list(range(len(self.rows))):
            return
        kept = [self.rows[index] for index in chosen]
        self.rows = kept if self._owner is None else self._owner.fork(self.rows, chosen)
        self._energies = None

    def joined(self, other: PoolSession) -> PoolSession:
        """A session without an owner on the rows of both."""
        return PoolSession(self._pool, [*self.rows, *other.rows])

    def close(self) -> None:
        if self._owner is not None:
            self._owner.close(self.rows)
        self.rows, self._energies = [], None


class _Tokens(Sequence[Tokens]):
    """The tokens of some rows of a pool, looked up only when asked for."""

    def __init__(self, pool: Pool, rows: Sequence[int]) -> None:
        self._pool, self._rows = pool, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self._pool.tokens(number) for number in self._rows[row]]
        return self._pool.tokens(self._rows[row])
