"""What a step gives each of its rows: views of arrays, put into words only where they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.base import token_logprob
from heatbath.ensemble.arrays import to_numpy
from heatbath.models.base import Tokens
from heatbath.models.pool.base import Pool
from heatbath.record import Record

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Top = Sequence[tuple[int, float]]


class Row(Mapping[str, Any]):
    """One row of a record: numbers by name, nodes as lists."""

    __slots__ = ("_at", "_columns")

    def __init__(self, columns: Mapping[str, npt.NDArray[Any]], at: int) -> None:
        self._columns, self._at = columns, at

    def __getitem__(self, name: str) -> Any:
        return self._columns[name][self._at].tolist()

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Row({dict(self)!r})"


class Lines(Sequence[Tokens]):
    """The tokens of some rows of a pool, looked up only when asked for."""

    def __init__(self, pool: Pool, rows: Sequence[int]) -> None:
        self._pool, self._rows = pool, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self._pool.tokens(number) for number in self._rows[row]]
        return self._pool.tokens(self._rows[row])


def plain_logprob(energies: Any, tokens: Ints, record: Record | None) -> Floats:
    """Log-probability of `tokens` (B,) at T = 1, from the record where it was made at T = 1."""
    if record is None or "logprob" not in record:
        return token_logprob(energies, np.ones(len(tokens)), tokens)
    other = np.flatnonzero(record["temperature"] != 1.0)
    if not len(other):
        return np.asarray(record["logprob"])
    values = record["logprob"].copy()
    part = energies if len(other) == len(tokens) else energies[other]
    values[other] = token_logprob(part, np.ones(len(other)), tokens[other])
    return np.asarray(values)


def alternatives(energies: Any, tokens: Ints, logprobs: Floats, wanted: Sequence[int]) -> list[Top]:
    """For each row its `wanted` most probable tokens, with their log-probability at T = 1."""
    found: list[Top] = [()] * len(wanted)
    rows = np.flatnonzero(np.asarray(wanted))
    if not len(rows):
        return found
    part = energies if len(rows) == len(wanted) else energies[rows]
    drawn = to_numpy(part[np.arange(len(rows)), tokens[rows]]).astype(np.float64)
    lowest, order = _lowest(part, max(wanted))
    for place, row in enumerate(rows.tolist()):
        # From the token whose log-probability is known, so that the same token has the same one to the last bit.
        values = (logprobs[row] + (drawn[place] - lowest[place, : wanted[row]])).tolist()
        found[row] = list(zip(order[place, : wanted[row]].tolist(), values, strict=True))
    return found


def _lowest(energies: Any, count: int) -> tuple[Floats, Ints]:
    """The lowest energies of each row and their states, (B, k), in order."""
    if isinstance(energies, np.ndarray):
        order = np.argsort(energies, axis=-1, kind="stable")[:, :count]
        return np.take_along_axis(energies, order, -1).astype(np.float64), order
    values, order = energies.topk(count, largest=False)
    return values.double().cpu().numpy(), order.cpu().numpy()
