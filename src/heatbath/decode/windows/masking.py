r"""Masking kernels: copy a row's words where the energy is in the band, with +inf elsewhere.

The mass of a band is $\sum_v w_v$ over the band, divided by the same sum over the row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.kernels.block_sums import weight_32, weight_64
from heatbath.kernels.exp2 import LOG2E
from heatbath.kernels.float_bits import find_extremes, from_key, infinity_key, value
from heatbath.kernels.jit import jit, jit_reassoc
from heatbath.kernels.row_sums import LEAST_32, MOST_32, WIDEST_32


def round_down(limit: npt.NDArray[np.float64], width: int) -> npt.NDArray[Any]:
    """Return the highest number of `width` bytes (at least 4) that is at most `limit`."""
    if width == 8:
        return limit
    with np.errstate(over="ignore"):
        nearest = limit.astype(np.float32)
    return np.where(nearest > limit, np.nextafter(nearest, np.float32(-np.inf)), nearest)


@jit
def fill_energy_range(start: Any, stop: Any, words: Any, out: Any) -> Any:
    """Fill out (B, 3) with status, lowest and highest finite energy."""
    for b in range(start, stop):
        low, high, status = find_extremes(words[b])
        out[b, 0] = status
        out[b, 1], out[b, 2] = from_key(low, words[b, 0]), from_key(high, words[b, 0])


@jit
def is_float32_safe(low: Any, high: Any, beta: Any) -> Any:
    """Test that float32 weights cannot overflow for a row between these energies."""
    return high - low < WIDEST_32 and (beta == 0.0 or LEAST_32 < beta < MOST_32)


@jit
def copy_band(row: Any, low: Any, high: Any, absent: Any, out: Any) -> Any:
    """Copy the words of energies in the band to `out`, and `absent` elsewhere."""
    for v in range(row.shape[0]):
        energy = value(row[v])
        out[v] = row[v] if (energy >= low) & (energy <= high) else absent


@jit_reassoc
def sum_weights_32(row: Any, low: Any, high: Any, ground: Any, rate: Any) -> Any:
    """Return the weights of the row and of the band, in float32 with float64 totals."""
    total, kept = 0.0, 0.0
    for v in range(row.shape[0]):
        w = weight_32(row[v], ground, rate)
        energy = value(row[v])
        total += w
        kept += w if (energy >= low) & (energy <= high) else 0.0
    return total, kept


@jit_reassoc
def sum_weights_64(row: Any, low: Any, high: Any, ground: Any, beta: Any) -> Any:
    """Return the weights of the row and of the band, in float64."""
    total, kept = 0.0, 0.0
    for v in range(row.shape[0]):
        w = weight_64(row[v], ground, beta)
        energy = value(row[v])
        total += w
        kept += w if (energy >= low) & (energy <= high) else 0.0
    return total, kept


@jit
def count_ground_states(row: Any, low: Any, high: Any, ground: Any) -> Any:
    """Count the ground states of the row and of the band."""
    total, kept = 0, 0
    for v in range(row.shape[0]):
        energy = value(row[v])
        total += 1 if energy == ground else 0
        kept += 1 if (energy == ground) & (energy >= low) & (energy <= high) else 0
    return np.float64(total), np.float64(kept)


@jit
def fill_masked(start: Any, stop: Any, words: Any, bands: Any, out: Any) -> Any:
    """Fill out (B, V) from the rows of words and their bands (B, 2), numbers of the words' own width."""
    absent = words.dtype.type(infinity_key(words[0, 0]))
    for b in range(start, stop):
        copy_band(words[b], bands[b, 0], bands[b, 1], absent, out[b])


@jit
def fill_band_mass(
    start: Any,
    stop: Any,
    words: Any,
    bands: Any,
    betas: Any,
    double: Any,
    edges: Any,
    mass: Any,
) -> Any:
    """Fill mass (B,) with the share of the weight in the bands; edges (B, 2) are the lowest and highest energy."""
    for b in range(start, stop):
        row, low, high, beta = words[b], bands[b, 0], bands[b, 1], betas[b]
        ground = edges[b, 0]
        if math.isinf(beta):
            total, kept = count_ground_states(row, low, high, ground)
        elif double or not is_float32_safe(ground, edges[b, 1], beta):
            total, kept = sum_weights_64(row, low, high, ground, beta)
        else:
            total, kept = sum_weights_32(row, low, high, np.float32(ground), np.float32(beta * LOG2E))
        mass[b] = kept / total
