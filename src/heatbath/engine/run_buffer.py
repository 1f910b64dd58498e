"""Arrays of a run: tokens and records of a batch, written step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.ensemble import LogZ
from heatbath.errors import BadInput
from heatbath.record import Record
from heatbath.short_repr import short_repr

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class GenerationArrays:
    """A run as arrays over rows b and steps t, padded with zeros beyond the length of a row.

    `record` holds columns (B, N) and nodes (B, N, K); None for a run without a record.
    """

    tokens: NDArray[np.int32]
    lengths: Ints
    betas: Floats
    record: Record | None

    __repr__ = short_repr

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True for entries that are not padding, (B, N)."""
        return np.arange(self.tokens.shape[1]) < self.lengths[:, None]

    @property
    def energies(self) -> Floats:
        """Raw energies of the tokens (B, N), nats."""
        return self._require_record()["energy"]

    @property
    def log_z(self) -> LogZ:
        """log Z as a function of beta, over (B, N)."""
        return self._require_record().nodes

    def _require_record(self) -> Record:
        if self.record is None:
            raise BadInput("this run kept no record: generate with record='full' or 'nodes'.")
        return self.record


class RunBuffer:
    """Arrays under construction, one column per slot. The step is their first axis, so that a step is contiguous."""

    def __init__(self, slots: int, steps: int) -> None:
        self._tokens = np.zeros((steps, slots), np.int32)
        self._columns: dict[str, NDArray[np.float64]] = {}
        self._shape = (steps, slots)
        self._lengths = np.zeros(slots, np.int64)
        self._betas = np.ones(slots)

    def copy_slots(self, sources: Ints, lengths: Ints | None) -> None:
        """Copy the first `lengths[i]` entries of slot `sources[i]` to slot i, all of them if None."""
        new_lengths = self._lengths[sources] if lengths is None else lengths
        changed = np.flatnonzero((sources != np.arange(len(sources))) & (new_lengths > 0))
        if len(changed):
            most = int(new_lengths[changed].max())
            columns: list[NDArray[Any]] = [self._tokens, *self._columns.values()]
            for column in columns:
                column[:most, changed] = column[:most, sources[changed]]
            self._betas[changed] = self._betas[sources[changed]]
        self._lengths = np.asarray(new_lengths, np.int64).copy()

    def write(self, slots: Ints, tokens: Ints, betas: Floats, record: Record | None) -> None:
        """Append an entry to each of `slots` (A,)."""
        at = self._lengths[slots]
        # Rows of equal length are written as one slice, which is twice as fast.
        steps = int(at[0]) if len(at) and (at == at[0]).all() else at
        self._tokens[steps, slots] = tokens
        self._betas[slots] = betas
        self._lengths[slots] += 1
        if record is None:
            return
        for name, column in record.columns.items():
            if name not in self._columns:
                self._columns[name] = np.zeros((*self._shape, *column.shape[1:]), column.dtype)
            self._columns[name][steps, slots] = column

    def to_arrays(self, slots: Ints) -> GenerationArrays:
        """Return the entries of `slots`, as views if those are all slots in order."""
        steps = int(self._lengths[slots].max(initial=0))
        is_view = np.array_equal(slots, np.arange(self._shape[1]))
        part: Any = slice(None) if is_view else slots
        padding = np.arange(steps)[:, None] >= self._lengths[slots]
        views = {name: _zero_padding(column[:steps, part], padding, is_view) for name, column in self._columns.items()}
        record = Record({name: view.swapaxes(0, 1) for name, view in views.items()}) if views else None
        tokens = _zero_padding(self._tokens[:steps, part], padding, is_view)
        return GenerationArrays(tokens.T, self._lengths[slots].copy(), self._betas[slots], record)


def _zero_padding(column: NDArray[Any], padding: NDArray[np.bool_], is_view: bool) -> NDArray[Any]:
    """Write zeros to padding, since a slot that was cut still holds its old entries."""
    if not is_view:
        column[padding] = 0
    return column
