"""Randomness row by row: each row has a generator of its own, so what it draws does not depend on its batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from heatbath.ensemble import quantile
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_BLOCK_SIZE = 64


class Random(Protocol):
    """Where a sampler's chance comes from. Every choice goes through it, so that a test can walk all of them."""

    def uniform(self) -> Floats:
        """The next number in [0, 1) of every row, (B,)."""

    def draw_tokens(self, energies: Any, betas: Floats) -> Ints:
        """A state of every row, (B,), from energies (B, V) at `betas` (B,)."""

    def choose_index(self, probabilities: Floats) -> int:
        """One of n, with `probabilities` (n,) that sum to one; shared by all rows."""

    def for_rows(self, rows: Sequence[int]) -> Random:
        """The chance of some of the rows."""


class RowRandom:
    """One generator per row, seeded by `(seed, row id)`, and one shared by all. `ids` are row numbers unless given.

    Numbers are fetched in blocks, since asking every generator for one number at every step is slow.
    """

    def __init__(self, seed: int, row_ids: int | Sequence[int]) -> None:
        rows = range(row_ids) if isinstance(row_ids, int) else row_ids
        if seed < 0 or any(row < 0 for row in rows):
            raise BadInput(f"seeds and row ids must be 0 or more: seed {seed}, ids {list(rows)[:5]} ….")
        self._generators = [np.random.default_rng([seed, row]) for row in rows]
        # A third number that is not 0 keeps the shared stream apart from that of any row.
        self._shared_generator = np.random.default_rng([seed, min(rows, default=0), 1])
        self._block = np.empty((0, len(self._generators)))
        self._block_position = 0

    def uniform(self) -> Floats:
        """The next number in [0, 1) of every row, (B,)."""
        if self._block_position == len(self._block):
            self._block = np.stack([generator.random(_BLOCK_SIZE) for generator in self._generators], axis=1)
            self._block_position = 0
        self._block_position += 1
        return np.asarray(self._block[self._block_position - 1])

    def draw_tokens(self, energies: Any, betas: Floats) -> Ints:
        """One inverse-CDF draw per row, in vocabulary order, (B,)."""
        return quantile(energies, betas, self.uniform())

    def choose_index(self, probabilities: Floats) -> int:
        """One of n by the shared generator."""
        return index_from_uniform(probabilities, self._shared_generator.random())

    def for_rows(self, rows: Sequence[int]) -> Random:
        """The chance of some rows; every row's generator moves on at each call, whether it is asked or not."""
        return _RowSubset(self, np.asarray(rows, np.int64))

    def keep_rows(self, indices: Sequence[int]) -> None:
        """Drop or reorder rows. Raises `BadInput` for repeats, since two rows must not draw the same numbers."""
        if len(set(indices)) != len(indices):
            raise BadInput(f"rows {list(indices)} repeat: a copy of a row needs an id of its own.")
        self._generators = [self._generators[row] for row in indices]
        self._block = self._block[:, list(indices)]


@dataclass(frozen=True)
class _RowSubset:
    source: Random
    rows: Ints

    def uniform(self) -> Floats:
        return self.source.uniform()[self.rows]

    def draw_tokens(self, energies: Any, betas: Floats) -> Ints:
        return quantile(energies, betas, self.uniform())

    def choose_index(self, probabilities: Floats) -> int:
        return self.source.choose_index(probabilities)

    def for_rows(self, rows: Sequence[int]) -> Random:
        return _RowSubset(self.source, self.rows[list(rows)])


def index_from_uniform(probabilities: Floats, uniform: float) -> int:
    """The first index at which the cumulative probability exceeds `uniform`; one of probability 0 never is."""
    cumulative = np.cumsum(probabilities)
    return int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
