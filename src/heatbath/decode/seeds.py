"""Randomness row by row: each row has a generator of its own, so what it draws does not depend on its batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput

_BLOCK = 64


class RowRandom:
    """One generator per row, seeded by `(seed, row id)`. `ids` are row numbers unless given.

    Numbers are fetched in blocks, since asking every generator for one number at every step is slow.
    """

    def __init__(self, seed: int, ids: int | Sequence[int]) -> None:
        rows = range(ids) if isinstance(ids, int) else ids
        if seed < 0 or any(row < 0 for row in rows):
            raise BadInput(f"seeds and row ids must be 0 or more: seed {seed}, ids {list(rows)[:5]} ….")
        self._generators = [np.random.default_rng([seed, row]) for row in rows]
        self._block = np.empty((0, len(self._generators)))
        self._used = 0

    def uniform(self) -> npt.NDArray[np.float64]:
        """The next number in [0, 1) of every row, (B,)."""
        if self._used == len(self._block):
            self._block = np.stack([generator.random(_BLOCK) for generator in self._generators], axis=1)
            self._used = 0
        self._used += 1
        return np.asarray(self._block[self._used - 1])

    def keep(self, indices: Sequence[int]) -> None:
        """Drop or reorder rows. Raises `BadInput` for repeats, since two rows must not draw the same numbers."""
        if len(set(indices)) != len(indices):
            raise BadInput(f"rows {list(indices)} repeat: a copy of a row needs an id of its own.")
        self._generators = [self._generators[row] for row in indices]
        self._block = self._block[:, list(indices)]
