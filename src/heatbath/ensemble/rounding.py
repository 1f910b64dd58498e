"""The rounding of given log-probabilities: how far the true ones may be from the numbers that came."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.row_layout import as_array
from heatbath.errors import BadInput

Floats = npt.NDArray[np.float64]

MOST_DECIMALS = 9
"""Decimals up to which numbers in float64 can be told from numbers that were not rounded to decimals."""
FIXED_ULPS, STATES_PER_ULP = 16.0, 256.0
"""Error of a sum over the vocabulary, in units in the last place of 1: PyTorch adds up in sequence on the CPU."""
_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


def logprob_rounding(given: Any, listed: Floats, vocab_size: int, rounding: Any = None) -> Floats:
    r"""Return the largest error of each of the log-probabilities `listed` (…, k), nats; 0 for those that are -inf.

    `rounding` is this error where the caller knows it. Otherwise it follows from the numbers that were `given`: half a
    unit of the last decimal where all have at most nine decimals; else one unit in the last place of their format (of
    float32 for wider numbers that float32 can hold), plus the error of a sum in float32 over the vocabulary, or in
    float64. Half precision is taken to be rounded from float32. A log-softmax that was computed in half precision
    itself errs by the rounding of its log Z, which depends on the gauge: give its `rounding`. Raises `BadInput` for a
    `rounding` that is negative, infinite or NaN.
    """
    if rounding is not None:
        return _validate_rounding(rounding, listed)
    magnitude = np.where(np.isfinite(listed), np.abs(listed), 0.0)
    kind = str(getattr(given, "dtype", "float64")).rpartition(".")[2]
    if kind not in ("float16", "bfloat16"):
        unit = _find_decimal_unit(magnitude, _EPSILON.get(kind, _EPSILON["float64"]))
        if unit is not None:
            return np.where(np.isfinite(listed), unit / 2, 0.0)
        kind = "float32" if (magnitude.astype(np.float32) == magnitude).all() else "float64"
    # A logarithm in half precision is computed in float32 at least.
    total = (FIXED_ULPS + vocab_size / STATES_PER_ULP) * min(_EPSILON[kind], _EPSILON["float32"])
    return np.where(np.isfinite(listed), _EPSILON[kind] * magnitude + total, 0.0)


def _validate_rounding(rounding: Any, listed: Floats) -> Floats:
    values = as_array(rounding).astype(np.float64)
    if not (np.isfinite(values) & (values >= 0)).all():
        raise BadInput(f"`rounding` must be finite nats of 0 or greater, got {rounding!r:.40}.", param="rounding")
    try:
        return np.where(np.isfinite(listed), np.broadcast_to(values, listed.shape), 0.0)
    except ValueError:
        raise BadInput(
            f"`rounding` must be one number or have the shape {listed.shape} of `logprobs`, got {values.shape}.",
            param="rounding",
        ) from None


def _find_decimal_unit(magnitude: Floats, epsilon: float) -> float | None:
    """Return the unit of the last decimal of numbers that were rounded to a few decimals, None for others."""
    values = magnitude[magnitude > 0]
    # Where the format is coarse, most numbers are near one with many decimals.
    most = min(MOST_DECIMALS, int(-np.log10(epsilon)) - 3)
    for decimals in range(1, most + 1) if values.size else ():
        if (np.abs(np.round(values, decimals) - values) <= epsilon * values).all():
            return float(10.0**-decimals)
    return None
