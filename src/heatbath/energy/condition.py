"""Energies that act only on the rows where a condition holds."""

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
"""Maps a context to one truth value per row, (B,): True where the energy acts."""


@overload
def apply_when(condition: Condition, energy: Field) -> Field: ...
@overload
def apply_when(condition: Condition, energy: Potential) -> Potential: ...
def apply_when(condition: Condition, energy: Field | Potential) -> Field | Potential:
    """Restrict `energy` to the rows where `condition` holds; it is evaluated only on those, the others get 0.

    The parts of a sum keep their names and weights. When evaluated, raises `BadInput` if the condition does not return
    one truth value per row.
    """
    if isinstance(energy, Field):
        fields = tuple((weight, ConditionalField(condition, part, part.name)) for weight, part in energy.terms)
        return fields[0][1] if len(fields) == 1 and fields[0][0] == 1 else FieldSum(fields)
    if isinstance(energy, Potential):
        parts = tuple((weight, ConditionalPotential(condition, part, part.name)) for weight, part in energy.terms)
        return parts[0][1] if len(parts) == 1 and parts[0][0] == 1 else PotentialSum(parts)
    raise BadInput(f"apply_when takes a field or a potential, got {type(energy).__name__}.")


def rows_in(row_ids: Iterable[int]) -> Condition:
    """Return a condition on row numbers, which stay with a row when batches change."""
    selected_ids = frozenset(row_ids)
    return lambda context: [context.row_id(row) in selected_ids for row in range(len(context))]


def after_tokens(n: int) -> Condition:
    """Return the condition that the completion has n tokens or more. Raises `BadInput` for n < 0."""
    validate_count(n, "`n` of after_tokens", 0)
    return lambda context: [len(context.completion(row)) >= n for row in range(len(context))]


def until_tokens(n: int) -> Condition:
    """Return the condition that the completion has fewer than n tokens. Raises `BadInput` for n < 0."""
    validate_count(n, "`n` of until_tokens", 0)
    return lambda context: [len(context.completion(row)) < n for row in range(len(context))]


@dataclass(frozen=True, repr=False)
class ConditionalField(Field):
    """A field on the rows where a condition holds, (B, V) float32; built by `apply_when`."""

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


@dataclass(frozen=True, repr=False)
class ConditionalPotential(Potential):
    """A potential on the rows where a condition holds, (B,) float64; built by `apply_when`."""

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
        raise BadInput(
            f"the condition of {energy.name!r} must return {len(context)} truth values, one per row, "
            f"got {holds.dtype} of shape {holds.shape}."
        )
    return np.flatnonzero(holds)


def _broadcast_energies(energy: Energy, values: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    array = to_numpy(values)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise BadInput(f"{energy.name!r} must return energies that broadcast to {shape}, got {array.shape}.") from None
