"""Where a run writes: tokens and records of a batch, step by step, in arrays that rows leave when they end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.ensemble import LogZ
from heatbath.errors import BadInput
from heatbath.record import Record

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Arrays:
    """A run as arrays over rows b and steps t: what lies at or beyond a row's length is padding, zeros.

    `record` holds columns (B, N) and nodes (B, N, K); None when the run kept none.
    """

    tokens: NDArray[np.int32]
    lengths: Ints
    betas: Floats
    record: Record | None

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which entries are no padding, (B, N)."""
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]

    @property
    def energies(self) -> Floats:
        """Raw energies of the tokens (B, N), nats."""
        return self._kept()["energy"]

    @property
    def log_z(self) -> LogZ:
        """log Z as a function of beta, over (B, N)."""
        return self._kept().nodes

    def _kept(self) -> Record:
        if self.record is None:
            raise BadInput("this run kept no record: generate with record=True.")
        return self.record


class Tape:
    """Arrays being written. They lie step first, so that a step is contiguous and steps never reached cost nothing."""

    def __init__(self, rows: int, steps: int) -> None:
        self._tokens = np.zeros((steps, rows), np.int32)
        self._columns: dict[str, NDArray[np.float64]] = {}
        self._shape = (steps, rows)
        self._lengths = np.zeros(rows, np.int64)

    def write(self, step: int, rows: Ints, tokens: Ints, record: Record | None) -> None:
        """What the rows `rows` (A,) drew at `step`."""
        self._tokens[step, rows] = tokens
        self._lengths[rows] = step + 1
        if record is None:
            return
        for name, column in record.columns.items():
            if name not in self._columns:
                self._columns[name] = np.zeros((*self._shape, *column.shape[1:]), column.dtype)
            self._columns[name][step, rows] = column

    def arrays(self, betas: Floats) -> Arrays:
        """Everything so far, as views."""
        steps = int(self._lengths.max(initial=0))
        views = {name: column[:steps].swapaxes(0, 1) for name, column in self._columns.items()}
        record = Record(views) if views else None
        return Arrays(self._tokens[:steps].T, self._lengths.copy(), betas, record)
