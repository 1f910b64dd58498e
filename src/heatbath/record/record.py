"""The columns of a record: which numbers are kept of one ensemble, under which names.

A `Record` is a set of NumPy columns of one leading shape: (n,) for a trace, (B,) for a step, (B, N) for a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.ensemble import NODE_BETAS, LogZ

Array = NDArray[Any]

THERMO_COLUMNS = (
    "energy",
    "logprob",
    "log_z",
    "mean_energy",
    "variance",
    "entropy",
    "heat_capacity",
    "ground",
    "p_max",
    "rank",
)
"""Of the raw ensemble, at the temperature of its row."""

NODE_COLUMNS = ("nodes/log_z", "nodes/mean_energy", "nodes/variance")
"""At `NODE_BETAS`, (..., K), the first two relative to the ground energy."""

WORK_PREFIX = "work/"
"""Prefix of the free-energy change of each field."""

FIELD_ENERGY_PREFIX = "field_energy/"
"""Prefix of the energy that each field gave the drawn token."""

KEPT_MASS_PREFIX = "kept_mass/"
"""Prefix of the probability that each window left."""

DIVERGENCE_PREFIX = "divergence/"
"""Prefix of the divergence of the ensemble after each field and window from the one before."""

CROSSED_PREFIX = "crossed/"
"""Prefix of an edge of a phase map: 1 where the temperature rose through it at this token, -1 where it fell, else 0."""

PIPELINE_ORDER = ("fields", "temperature", "windows")
"""In which order they act, fields and windows among themselves in the order of their columns."""

PIPELINE_COLUMNS = ("kept_mass", "log_mass", "divergence", "drawn_logprob")
"""What is kept of all that steers a step; each field and window has its own columns under the prefixes."""


@dataclass(frozen=True)
class Record:
    """Columns (...,) or, for the nodes, (..., K): what was seen of each ensemble; energies in nats.

    A row without an ensemble (the first token of a text) holds NaN.
    """

    columns: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    @property
    def shape(self) -> tuple[int, ...]:
        """The leading shape."""
        return self["energy"].shape

    @property
    def nodes(self) -> LogZ:
        """log Z as a function of beta, over the leading shape."""
        log_z, mean_energy, variance = (self[name] for name in NODE_COLUMNS)
        return LogZ(NODE_BETAS, self["ground"], log_z, mean_energy, variance)

    def map(self, function: Callable[[Array], Array]) -> Record:
        """The record with `function` applied to every column."""
        return Record({name: function(column) for name, column in self.columns.items()})

    def take(self, index: Any) -> Record:
        """The record at an index of the leading axes: a view where NumPy gives one."""
        return self.map(lambda column: column[index])

    def with_columns(self, columns: Mapping[str, Array]) -> Record:
        """The record with more columns."""
        return Record({**self.columns, **columns})


def concatenate(records: Sequence[Record]) -> Record:
    """Join along the first axis; a column that some lack is NaN there."""
    names = list(dict.fromkeys(name for record in records for name in record))
    return Record({name: np.concatenate([_column_or_nan(record, name) for record in records]) for name in names})


def _column_or_nan(record: Record, name: str) -> Array:
    return record[name] if name in record else np.full(record.shape, np.nan)


def build_missing_record(count: int) -> Record:
    """`count` rows without an ensemble: NaN in every column that `observe` gives."""
    names = (*THERMO_COLUMNS, "temperature")
    nodes = {name: np.full((count, len(NODE_BETAS)), np.nan, np.float32) for name in NODE_COLUMNS}
    return Record({name: np.full(count, np.nan) for name in names} | nodes)
