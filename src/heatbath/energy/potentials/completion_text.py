"""Helpers of potentials that read text: the text of completions and checks of energies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from heatbath.energy.base import Context
from heatbath.errors import BadInput, NotANumber

Floats = npt.NDArray[np.float64]
DecodeFunction = Callable[[Sequence[int]], str]
INCOMPLETE_CHARACTER = "\ufffd"


def completion_texts(context: Context, decode: DecodeFunction) -> list[str]:
    """Return the text of the completion of each row.

    Bytes of an incomplete character become U+FFFD; at the end of a prefix they are left out, since the rest of the
    character may follow.
    """
    texts = [decode(context.completion(row)) for row in range(len(context))]
    return [text if context.is_finished(row) else text.rstrip(INCOMPLETE_CHARACTER) for row, text in enumerate(texts)]


def validate_scale(scale: float, name: str) -> float:
    """Return the scale as a float. Raises `BadInput` unless it is finite."""
    if not np.isfinite(scale):
        raise BadInput(f"`scale` of potential {name!r} must be a finite number of nats, got {scale}.")
    return float(scale)


def validate_energies(energies: Sequence[float], context: Context, name: str) -> Floats:
    """Return energies as (B,) float64. Raises `NotANumber` for a NaN and `BadInput` for -inf, naming the row."""
    values = np.asarray(energies, np.float64)
    if np.isnan(values).any():
        raise NotANumber(f"potential {name!r} returned NaN for row {context.row_id(int(np.argmax(np.isnan(values))))}.")
    if (values == -np.inf).any():
        row = context.row_id(int(np.argmin(values)))
        raise BadInput(f"potential {name!r} returned -inf for row {row}: an energy is finite, or +inf to forbid.")
    return values
