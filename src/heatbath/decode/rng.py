"""Random numbers row by row: each row has a stream of its own, so what it draws does not depend on its batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from heatbath.ensemble import State, observed_draw, quantile
from heatbath.ensemble import state as state_of
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Observed = tuple[Ints, State, Any]
"""Drawn states (B,), the thermodynamics of what they were drawn from, their log-probability at beta = 1, (B,)."""

_BLOCK_SIZE = 64


class Random(Protocol):
    """The source of a sampler's random numbers. Every choice goes through it, so that a test can walk all of them."""

    def uniform(self) -> Floats:
        """The next number in [0, 1) of every row, (B,)."""

    def draw_tokens(self, energies: Any, betas: Floats) -> Ints:
        """A state of every row, (B,), from energies (B, V) at `betas` (B,)."""

    def draw_observed(self, energies: Any, betas: Floats) -> Observed:
        """`draw`, with what the states were drawn from. Asked for by hosts that keep it, and by nobody else."""

    def choose_index(self, probabilities: Floats) -> int:
        """One of n, with `probabilities` (n,) that sum to one; shared by all rows."""

    def for_rows(self, rows: Sequence[int]) -> Random:
        """The random numbers of some of the rows."""


class RowRandom:
    """One stream per row, named by (seed, row id), and one shared by all. Rows may join and leave at any step.

    `ids` are row numbers unless given. Numbers are fetched in blocks, since asking every generator for one number at
    every step is slow.
    """

    def __init__(self, seed: int = 0, row_ids: int | Sequence[int] = ()) -> None:
        rows = range(row_ids) if isinstance(row_ids, int) else row_ids
        self._names: list[tuple[int, int]] = []
        self._generators: list[np.random.Generator] = []
        self._block = np.empty((_BLOCK_SIZE, 0))
        self._first = np.empty(0, np.int64)
        self._block_position = np.empty(0, np.int64)
        self.join([(seed, row) for row in rows])
        # A third number that is not 0 keeps the shared stream apart from that of any row.
        self._shared_name = [seed, min(rows, default=0), 1]
        self._shared_generator = np.random.default_rng(self._shared_name)
        self._choices = 0

    def __len__(self) -> int:
        return len(self._names)

    def join(self, names: Sequence[tuple[int, int]]) -> None:
        """Add rows, named by (seed, row id), at the beginning of their streams."""
        if any(seed < 0 or row < 0 for seed, row in names):
            raise BadInput(f"seeds and row ids must be 0 or more: (seed, id) {list(names)[:5]} ….")
        fresh = [np.random.default_rng(name) for name in names]
        self._names += names
        self._generators += fresh
        zeros = np.zeros(len(names), np.int64)
        # Filled when the first number is asked for, as a block that is used up.
        self._block = np.concatenate([self._block, np.empty((_BLOCK_SIZE, len(names)))], axis=1)
        self._first = np.concatenate([self._first, zeros - _BLOCK_SIZE])
        self._block_position = np.concatenate([self._block_position, zeros])

    def keep_rows(self, indices: Sequence[int] | Ints) -> None:
        """Drop or reorder rows. Raises `BadInput` for repeats, since two rows must not draw the same numbers."""
        rows = [int(index) for index in indices]
        if len(set(rows)) != len(rows):
            raise BadInput(f"rows {rows} repeat: a copy of a row needs an id of its own.")
        self._names = [self._names[row] for row in rows]
        self._generators = [self._generators[row] for row in rows]
        self._block, self._first, self._block_position = (
            self._block[:, rows],
            self._first[rows],
            self._block_position[rows],
        )

    def uniform(self) -> Floats:
        """The next number in [0, 1) of every row, (B,)."""
        at = self._block_position - self._first
        for row in np.flatnonzero(at == _BLOCK_SIZE).tolist():
            self._block[:, row] = self._generators[row].random(_BLOCK_SIZE)
            self._first[row], at[row] = self._block_position[row], 0
        self._block_position += 1
        if len(at) and (at == at[0]).all():
            return np.asarray(self._block[at[0]].copy())
        return np.asarray(self._block[at, np.arange(len(at))])

    def draw_tokens(self, energies: Any, betas: Floats) -> Ints:
        """One inverse-CDF draw per row, in vocabulary order, (B,)."""
        return quantile(energies, betas, self.uniform())

    def draw_observed(self, energies: Any, betas: Floats) -> Observed:
        """`draw` and the thermodynamics of what is drawn from, in one reading of the energies."""
        return observed_draw(energies, betas, self.uniform())

    def choose_index(self, probabilities: Floats) -> int:
        """One of n by the shared generator."""
        self._choices += 1
        return choose_index(probabilities, self._shared_generator.random())

    def for_rows(self, rows: Sequence[int]) -> Random:
        """The random numbers of some rows; every row's stream moves on at each call, whether it is asked or not."""
        return _RowSubset(self, np.asarray(rows, np.int64))

    def mark(self) -> tuple[Ints, int]:
        """Where the streams stand, for `rewind`."""
        return self._block_position.copy(), self._choices

    def rewind(self, mark: tuple[Ints, int]) -> None:
        """Go back to where the streams of the same rows stood."""
        used, choices = mark
        self._block_position = used.copy()
        for row in np.flatnonzero(used < self._first).tolist():
            self._generators[row] = _advanced(self._names[row], int(used[row]))
            self._block[:, row] = self._generators[row].random(_BLOCK_SIZE)
            self._first[row] = used[row]
        if choices != self._choices:
            self._shared_generator, self._choices = _advanced(self._shared_name, choices), choices


class ZeroRandom:
    """Always 0: every draw gives the first ground state at beta = inf. For samplers without randomness."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def uniform(self) -> Floats:
        return np.zeros(self._rows)

    def draw_tokens(self, energies: Any, betas: Floats) -> Ints:
        return quantile(energies, betas, self.uniform())

    def draw_observed(self, energies: Any, betas: Floats) -> Observed:
        return observed_draw(energies, betas, self.uniform())

    def choose_index(self, probabilities: Floats) -> int:
        return choose_index(probabilities, 0.0)

    def for_rows(self, rows: Sequence[int]) -> Random:
        return ZeroRandom(len(rows))


@dataclass(frozen=True)
class ForcedTokens:
    """Random numbers of `source`, but rows where `forced` (B,) get their `tokens` (B,) in place of a draw."""

    source: Random
    tokens: Ints
    forced: npt.NDArray[np.bool_]

    def uniform(self) -> Floats:
        return self.source.uniform()

    def draw_tokens(self, energies: Any, betas: Floats) -> Ints:
        if self.forced.all():
            return self.tokens
        return np.where(self.forced, self.tokens, self.source.draw_tokens(energies, betas))

    def draw_observed(self, energies: Any, betas: Floats) -> Observed:
        tokens = self.draw_tokens(energies, betas)
        plain: Any = state_of(energies, 1.0, index=tokens).logprob
        return tokens, state_of(energies, betas, index=tokens), plain

    def choose_index(self, probabilities: Floats) -> int:
        return self.source.choose_index(probabilities)

    def for_rows(self, rows: Sequence[int]) -> Random:
        part = list(rows)
        return ForcedTokens(self.source.for_rows(rows), self.tokens[part], self.forced[part])


@dataclass(frozen=True)
class _RowSubset:
    source: Random
    rows: Ints

    def uniform(self) -> Floats:
        return self.source.uniform()[self.rows]

    def draw_tokens(self, energies: Any, betas: Floats) -> Ints:
        return quantile(energies, betas, self.uniform())

    def draw_observed(self, energies: Any, betas: Floats) -> Observed:
        return observed_draw(energies, betas, self.uniform())

    def choose_index(self, probabilities: Floats) -> int:
        return self.source.choose_index(probabilities)

    def for_rows(self, rows: Sequence[int]) -> Random:
        return _RowSubset(self.source, self.rows[list(rows)])


def choose_index(probabilities: Floats, uniform: float) -> int:
    """The first index at which the cumulative probability exceeds `uniform`; one of probability 0 never is."""
    cumulative = np.cumsum(probabilities)
    return int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))


def _advanced(name: Sequence[int], count: int) -> np.random.Generator:
    """The generator of that name after `count` numbers; one number takes one step of it."""
    generator = np.random.default_rng(name)
    bits: Any = generator.bit_generator
    bits.advance(count)
    return generator
