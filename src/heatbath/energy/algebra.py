"""The arithmetic of energies: they add, and a weight multiplies them."""

from __future__ import annotations

from typing import Any

from heatbath.errors import BadInput


def validate_weight(weight: float) -> float:
    """A weight an energy can carry: finite. Raises `BadInput` otherwise."""
    if not abs(weight) < float("inf"):
        raise BadInput(f"the weight of an energy is {weight}: give a finite number; +inf energies forbid.")
    return float(weight)


def scale_energies(weight: float, energies: Any) -> Any:
    r"""$w E$, with $0 \cdot \infty = 0$: an energy of weight 0 is absent, what it forbids is allowed again.

    Raises `BadInput` for a negative weight on energies that forbid, since -inf is no energy.
    """
    if weight == 1:
        return energies
    forbidden = energies == float("inf")
    if weight < 0 and forbidden.any():
        raise BadInput(f"a weight of {weight:g} on energies that forbid would give -inf: keep it at 0 or above.")
    # A product with 0 would turn +inf into NaN; the mask is already an array of the right shape and library.
    return energies * weight if weight else forbidden * 0.0
