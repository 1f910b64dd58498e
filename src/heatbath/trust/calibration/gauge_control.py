"""The gauge control: a random constant added to all energies of each context, which changes no probability."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from heatbath.record import ENERGY_COLUMNS, Trace
from heatbath.trust.calibration.ranking_metrics import area_under_roc
from heatbath.trust.calibration.signal_table import Floats, SignalTable

OFFSET_SCALE = 10.0
"""Standard deviation of the constants, nats: as large as log Z itself varies in many models."""
TOLERANCE = 1e-6
"""Change of a signal, relative to its spread over answers, that counts as none."""


@dataclass(frozen=True)
class GaugeEffect:
    """The effect of the control on one signal.

    Attributes:
        name: the signal.
        is_gauge_invariant: what the signal says of itself.
        moves: true if it changed for any answer.
        auroc: its AUROC as it is.
        auroc_shifted: its AUROC with the constants added.
    """

    name: str
    is_gauge_invariant: bool
    moves: bool
    auroc: float
    auroc_shifted: float

    @property
    def is_as_stated(self) -> bool:
        """True unless a signal that is said to be gauge-invariant moved."""
        return not (self.is_gauge_invariant and self.moves)


def shift_gauge(trace: Trace, rng: np.random.Generator) -> Trace:
    """Return the trace that the model would have with a random constant added to all energies of each context."""
    offset = rng.normal(scale=OFFSET_SCALE, size=len(trace))
    record = trace.record
    columns = {name: record[name] + offset for name in ENERGY_COLUMNS if name in record}
    if "log_z" in record:
        # At T = 0 log Z is infinite, in every gauge.
        with np.errstate(divide="ignore", invalid="ignore"):
            shifted = record["log_z"] - offset / record["temperature"]
        columns["log_z"] = np.where(record["temperature"] > 0, shifted, record["log_z"])
    return replace(trace, record=record.with_columns(columns))


def compare_gauges(table: SignalTable, shifted_nm: Floats) -> tuple[GaugeEffect, ...]:
    """Return the effect on each signal of a table; `shifted_nm` are its values with the constants added.

    Raises:
        BadInput: answers of one kind only.
    """
    effects = []
    for m, column in enumerate(table.columns):
        values_n, other_n = table.values[:, m], shifted_nm[:, m]
        spread = float(np.std(values_n)) or 1.0
        moves = bool((np.abs(other_n - values_n) > TOLERANCE * max(spread, float(np.abs(values_n).max()))).any())
        before = area_under_roc(values_n * column.direction, table.labels)
        after = area_under_roc(other_n * column.direction, table.labels) if moves else before
        effects.append(GaugeEffect(column.name, column.is_gauge_invariant, moves, before, after))
    return tuple(effects)
