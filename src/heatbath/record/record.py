"""The columns of a record: names and meaning of the numbers stored for each ensemble.

A `Record` is a set of NumPy columns with one leading shape: (n,) for a trace, (B,) for a step, (B, N) for a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatbath.ensemble import NODE_BETAS, LogZ
from heatbath.short_repr import short_repr

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
"""Columns of the raw ensemble, `logprob` too, at the temperature of the row, which is the column `temperature`."""

NODE_COLUMNS = ("nodes/log_z", "nodes/mean_energy", "nodes/variance")
"""Columns at `NODE_BETAS`, (..., K); the first two are relative to the ground energy."""

UNIFORM_COLUMNS = ("nodes/log_count", "nodes/uniform_energy")
"""Columns at T = inf: log of the number of possible tokens, and their mean energy, which depends on the gauge."""

ENERGY_COLUMNS = ("energy", "mean_energy", "ground", UNIFORM_COLUMNS[1])
"""Columns in units of energy: a constant added to all energies of a context is added to these."""

WORK_PREFIX = "work/"
"""Prefix of the work of each field: the change of free energy that it caused."""

FIELD_ENERGY_PREFIX = "field_energy/"
"""Prefix of the energy that each field added to the drawn token."""

KEPT_MASS_PREFIX = "kept_mass/"
"""Prefix of the probability mass that each window kept."""

DIVERGENCE_PREFIX = "divergence/"
"""Prefix of the divergence between the ensembles before and after each field and window."""

CROSSED_PREFIX = "crossed/"
"""Prefix of the edges of a phase map: 1 if the temperature rose through the edge at this token, -1 if it fell."""

PIPELINE_ORDER = ("fields", "temperature", "windows")
"""The order in which they act; fields, and windows, act in the order of their columns."""

PIPELINE_COLUMNS = ("kept_mass", "log_mass", "divergence", "drawn_logprob")
"""Columns of all fields and windows of a step together; each one's own columns have the prefixes above."""


@dataclass(frozen=True, repr=False)
class Record:
    """Columns (...,) of one value per ensemble or, for the nodes, (..., K); energies in nats.

    A row without an ensemble, such as the first token of a text, holds NaN.
    """

    columns: Mapping[str, Array]

    __repr__ = short_repr

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
        """log Z as a function of beta, for every element of the leading shape."""
        log_z, mean_energy, variance = (self[name] for name in NODE_COLUMNS)
        return LogZ(NODE_BETAS, self["ground"], log_z, mean_energy, variance)

    def map(self, function: Callable[[Array], Array]) -> Record:
        """Return the record with `function` applied to every column."""
        return Record({name: function(column) for name, column in self.columns.items()})

    def take(self, index: Any) -> Record:
        """Return the record at an index of the leading axes; a view where NumPy gives one."""
        return self.map(lambda column: column[index])

    def with_columns(self, columns: Mapping[str, Array]) -> Record:
        """Return the record with `columns` added or replaced."""
        return Record({**self.columns, **columns})


def concatenate(records: Sequence[Record]) -> Record:
    """Join records along the first axis; a column missing in a record is NaN there."""
    names = list(dict.fromkeys(name for record in records for name in record))
    return Record({name: np.concatenate([_column_or_nan(record, name) for record in records]) for name in names})


def _column_or_nan(record: Record, name: str) -> Array:
    return record[name] if name in record else np.full(record.shape, np.nan)


def build_missing_record(count: int) -> Record:
    """Return `count` rows without an ensemble: NaN in every column of `observe`."""
    names = (*THERMO_COLUMNS, "temperature", *UNIFORM_COLUMNS)
    nodes = {name: np.full((count, len(NODE_BETAS)), np.nan, np.float32) for name in NODE_COLUMNS}
    return Record({name: np.full(count, np.nan) for name in names} | nodes)
