"""Evaluation of signals by name, for one answer or for many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heatbath.trust.signals.base import Aggregation, Evidence, Floats, SignalValue


@dataclass(frozen=True)
class SignalColumn:
    """One signal of n answers: arrays (n,) of value, lower and upper end, and the status and reason of each."""

    value: Floats
    lower: Floats
    upper: Floats
    statuses: Sequence[str]
    reasons: Sequence[str]

    def __getitem__(self, row: int) -> SignalValue:
        ends = float(self.value[row]), float(self.lower[row]), float(self.upper[row])
        return SignalValue(*ends, self.statuses[row], self.reasons[row])  # type: ignore[arg-type]


def compute_signals(
    evidence: Evidence, names: Sequence[str] | None = None, *, aggregation: Aggregation | None = None
) -> dict[str, SignalValue]:
    """Return the signals of one answer by the names asked for, all signals by default.

    `aggregation` is for the names without one, where their signal takes it.

    Raises:
        BadInput: no such signal, or evidence that contradicts itself.
        NotANumber: the evidence holds a NaN.
    """
    return {name: column[0] for name, column in compute_signal_columns([evidence], names, aggregation=aggregation).items()}


def compute_signal_columns(
    evidences: Sequence[Evidence], names: Sequence[str] | None = None, *, aggregation: Aggregation | None = None
) -> Mapping[str, SignalColumn]:
    """Return the signals of many answers; one pass over all their tokens. Arguments as in `compute_signals`."""
    raise NotImplementedError
