"""Arithmetic of energies: multiplication by a weight."""

from __future__ import annotations

from typing import Any

from heatbath.errors import BadInput


def validate_weight(weight: float) -> float:
    """Return the weight of an energy as a float. Raises `BadInput` unless it is finite."""
    if not abs(weight) < float("inf"):
        raise BadInput(f"the weight of an energy must be finite, got {weight}: to forbid, use energies of +inf.")
    return float(weight)


_SMALLEST_WEIGHT = 1e-30


def scale_energies(weight: float, energies: Any) -> Any:
    r"""Return $w E$ with $0 \cdot \infty = 0$: an energy of weight 0 is absent and forbids nothing.

    Raises `BadInput` for a negative weight on energies that forbid, which would give -inf.
    """
    if weight == 1:
        return energies
    forbidden = energies == float("inf")
    if weight < 0 and forbidden.any():
        raise BadInput(
            f"the weight of an energy that forbids must be at least 0, got {weight:g}: -inf is not an energy."
        )
    # A product with 0 would turn +inf into NaN, as would one with a weight that the dtype of the energies rounds to 0.
    # The mask is already an array of the right shape and library.
    return energies * weight if abs(weight) > _SMALLEST_WEIGHT else forbidden * 0.0
