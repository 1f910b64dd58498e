"""The chance of rows that come and go: each has a stream of its own, the one that `RowRandom` would give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BLOCK = 64


class Chance:
    """One stream a row, named by (seed, number); `still` rows always get 0, for those who take the first ground state.

    Numbers are fetched in blocks, since asking every generator for one number at every step is slow.
    """

    def __init__(self) -> None:
        self._names: list[tuple[int, int]] = []
        self._generators: list[np.random.Generator] = []
        self._block = np.empty((0, _BLOCK))
        self._first = np.empty(0, np.int64)
        self._taken = np.empty(0, np.int64)
        self._still = np.empty(0, bool)

    def join(self, names: Sequence[tuple[int, int]], *, still: bool = False) -> None:
        """More rows, at the beginning of their streams."""
        fresh = [np.random.default_rng(name) for name in names]
        self._names += names
        self._generators += fresh
        self._block = np.concatenate([self._block, [each.random(_BLOCK) for each in fresh]])
        self._first = np.concatenate([self._first, np.zeros(len(names), np.int64)])
        self._taken = np.concatenate([self._taken, np.zeros(len(names), np.int64)])
        self._still = np.concatenate([self._still, np.full(len(names), still)])

    def keep(self, indices: Ints) -> None:
        """Drop the rows that are not among `indices`."""
        self._names = [self._names[row] for row in indices.tolist()]
        self._generators = [self._generators[row] for row in indices.tolist()]
        self._block, self._still = self._block[indices], self._still[indices]
        self._first, self._taken = self._first[indices], self._taken[indices]

    def uniform(self) -> Floats:
        """The next number in [0, 1) of every row, (B,)."""
        at = self._taken - self._first
        for row in np.flatnonzero(at == _BLOCK).tolist():
            self._block[row] = self._generators[row].random(_BLOCK)
            self._first[row], at[row] = self._taken[row], 0
        self._taken += 1
        return np.asarray(np.where(self._still, 0.0, self._block[np.arange(len(at)), at]))

    def mark(self) -> Ints:
        """Where the streams stand, (B,)."""
        return self._taken.copy()

    def rewind(self, mark: Ints) -> None:
        """Back to where the streams stood."""
        self._taken = mark.copy()
        for row in np.flatnonzero(mark < self._first).tolist():
            generator = np.random.default_rng(self._names[row])
            bits: Any = generator.bit_generator
            # One number takes one step of the generator.
            bits.advance(int(mark[row]))
            self._generators[row], self._first[row] = generator, mark[row]
            self._block[row] = generator.random(_BLOCK)
