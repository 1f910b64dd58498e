"""Energies that act only where a condition holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context, Energy, Field, FieldSum, Potential, PotentialSum
from heatbath.energy.context import validate_count
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput

Condition = Callable[[Context], Sequence[bool] | npt.NDArray[np.bool_]]
"""Says for each row of a context whether an energy acts on it, (B,)."""


@overload
def apply_when(condition: Condition, energy: Field) -> Field: ...
@overload
def apply_when(condition: Condition, energy: Potential) -> Potential: ...
def apply_when(condition: Condition, energy: Field | Potential) -> Field | Potential:
    """`energy` on the rows where `condition` holds, 0 elsewhere; it is asked about those rows alone.

    Names and weights of a sum stay with its parts. Raises `BadInput` where the condition does not give one truth value
    a row, by its own place among the energies.
    """
    if isinstance(energy, Field):
        fields = tuple((weight, ConditionalField(condition, part, part.name)) for weight, part in energy.terms)
        return fields[0][1] if len(fields) == 1 and fields[0][0] == 1 else FieldSum(fields)
    if isinstance(energy, Potential):
        parts = tuple((weight, ConditionalPotential(condition, part, part.name)) for weight, part in energy.terms)
        return parts[0][1] if len(parts) == 1 and parts[0][0] == 1 else PotentialSum(parts)
    raise BadInput(f"when takes a field or a potential, not {type(energy).__name__}.")


def rows_in(row_ids: Iterable[int]) -> Condition:
    """Rows of these numbers, which stay with a row in any batch."""
    wanted = frozenset(row_ids)
    return lambda context: [context.row_id(row) in wanted for row in range(len(context))]


def after_tokens(n: int) -> Condition:
    """Rows whose answer has n tokens or more. Raises `BadInput` for n < 0."""
    validate_count(n, "the count of after_tokens", 0)
    return lambda context: [len(context.completion(row)) >= n for row in range(len(context))]


def until_tokens(n: int) -> Condition:
    """Rows whose answer has fewer than n tokens. Raises `BadInput` for n < 0."""
    validate_count(n, "the count of until_tokens", 0)
    return lambda context: [len(context.completion(row)) < n for row in range(len(context))]


@dataclass(frozen=True)
class ConditionalField(Field):
    """A field where a condition holds, (B, V) float32; made by `when`."""

    condition: Condition
    part: Field
    name: str

    @property
    def commutes(self) -> bool:  # type: ignore[override]
        return self.part.commutes

    def __call__(self, context: Context) -> npt.NDArray[np.float32]:
        energies = np.zeros((len(context), context.vocab_size), np.float32)
        rows = _select_rows(self.condition, context, self)
        if len(rows):
            energies[rows] = _broadcast_energies(
                self, self.part(context.take(rows.tolist())), (len(rows), context.vocab_size)
            )
        return energies


@dataclass(frozen=True)
class ConditionalPotential(Potential):
    """A potential where a condition holds, (B,) float64; made by `when`."""

    condition: Condition
    part: Potential
    name: str

    @property
    def scores_prefixes(self) -> bool:  # type: ignore[override]
        return self.part.scores_prefixes

    def __call__(self, context: Context) -> npt.NDArray[np.float64]:
        energies = np.zeros(len(context))
        rows = _select_rows(self.condition, context, self)
        if len(rows):
            energies[rows] = _broadcast_energies(self, self.part(context.take(rows.tolist())), (len(rows),))
        return energies


def _select_rows(condition: Condition, context: Context, energy: Energy) -> npt.NDArray[np.intp]:
    holds = np.asarray(condition(context))
    if holds.shape != (len(context),) or holds.dtype != bool:
        given = f"{holds.dtype} of shape {holds.shape}"
        raise BadInput(f"the condition of {energy.name!r} gave {given}: give one truth value a row, {len(context)}.")
    return np.flatnonzero(holds)


def _broadcast_energies(energy: Energy, values: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    array = to_numpy(values)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise BadInput(f"{energy.name!r} gave energies of shape {array.shape}, which do not fit {shape}.") from None
