"""What potentials that read text share: the text of answers, and energies that are numbers."""

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
    """The text of each row's answer.

    Bytes of a character that is not complete come as U+FFFD; those at the end of a prefix are left out, since what
    they stand for is still open.
    """
    texts = [decode(context.completion(row)) for row in range(len(context))]
    return [text if context.is_finished(row) else text.rstrip(INCOMPLETE_CHARACTER) for row, text in enumerate(texts)]


def validate_scale(scale: float, name: str) -> float:
    """A finite number of nats. Raises `BadInput` otherwise."""
    if not np.isfinite(scale):
        raise BadInput(f"the scale of potential {name!r} is {scale}: give a finite number of nats.")
    return float(scale)


def validate_energies(energies: Sequence[float], context: Context, name: str) -> Floats:
    """Numbers as (B,) float64. Raises `NotANumber` for a NaN and `BadInput` for -inf, naming the row."""
    values = np.asarray(energies, np.float64)
    if np.isnan(values).any():
        raise NotANumber(f"potential {name!r} gave NaN for row {context.row_id(int(np.argmax(np.isnan(values))))}.")
    if (values == -np.inf).any():
        row = context.row_id(int(np.argmin(values)))
        raise BadInput(f"potential {name!r} gave -inf for row {row}: an energy is finite, or +inf to forbid.")
    return values
