"""Weights of single states, and sums over a row in blocks, whose totals serve both draws and moments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heatbath.kernels.exp2 import LOG2E, exp2_32, exp2_64
from heatbath.kernels.float_bits import from_key, key, value
from heatbath.kernels.jit import jit, jit_reassoc
from heatbath.kernels.row_sums import LEAST_32, MOST_32, count_ties, sums_64

BLOCK = 256
WIDEST = 1e15
"""Range of energies beyond which their squares could overflow float32; such rows are summed in float64."""


@jit
def weight_32(word: Any, ground: Any, rate: Any) -> Any:
    """Return exp(-beta d) in float32; exactly 0 for an absent state."""
    y = np.float32(value(word) - ground) * rate
    near = y < np.float32(126.0)
    return np.float64(exp2_32(y if near else np.float32(126.0))) if near else 0.0


@jit
def weight_64(word: Any, ground: Any, beta: Any) -> Any:
    """Return exp(-beta d) in float64; exactly 0 for an absent state."""
    y = (np.float64(value(word)) - ground) * beta * LOG2E
    near = y < 1022.0
    return exp2_64(y if near else 1022.0) if near else 0.0


@jit
def ground_weight(word: Any, low: Any) -> Any:
    """Return 1 for a ground state and 0 for any other."""
    return 1.0 if key(word) == low else 0.0


@jit
def weight(word: Any, low: Any, beta: Any, double: Any) -> Any:
    """Return the weight of one state."""
    if math.isinf(beta):
        return ground_weight(word, low)
    ground = from_key(low, word)
    if double:
        return weight_64(word, np.float64(ground), beta)
    return weight_32(word, np.float32(ground), np.float32(beta * LOG2E))


@jit_reassoc
def block_32(part: Any, ground: Any, rate: Any) -> Any:
    """Return the four sums over a block in float32: three times as fast, and so few terms lose little precision."""
    z, m1, m2, q = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for v in range(part.shape[0]):
        excess = np.float32(value(part[v]) - ground)
        y = excess * rate
        near = y < np.float32(126.0)
        w = exp2_32(y if near else np.float32(126.0))
        w = w if near else np.float32(0.0)
        d = excess if near else np.float32(0.0)
        wd = w * d
        z += w
        q += w * w
        m1 += wd
        m2 += wd * d
    return np.float64(z), np.float64(m1), np.float64(m2), np.float64(q)


@jit
def block_sums(part: Any, low: Any, beta: Any, double: Any) -> Any:
    """Return the four sums over a block of a row with the lowest key `low`, at any beta from 0 to inf."""
    if math.isinf(beta):
        count = np.float64(count_ties(part, low))
        return count, 0.0, 0.0, count
    ground = from_key(low, part[0])
    if double:
        return sums_64(part, np.float64(ground), beta)
    return block_32(part, np.float32(ground), np.float32(beta * LOG2E))


@jit
def fits_float32_blocks(row: Any, low: Any, high: Any, beta: Any) -> Any:
    """Test that float32 sums cannot overflow for this row."""
    span = np.float64(from_key(high, row[0])) - np.float64(from_key(low, row[0]))
    return span < WIDEST and (beta == 0.0 or LEAST_32 < beta < MOST_32)


@jit
def sum_blocks(row: Any, low: Any, beta: Any, double: Any, totals: Any) -> Any:
    """Return the four sums of a row, and fill `totals` with the weight of each block."""
    z, m1, m2, q = 0.0, 0.0, 0.0, 0.0
    for i in range(totals.shape[0]):
        # A slice, since the compiler then sees that no index is negative: twice as fast.
        part = row[i * BLOCK : min((i + 1) * BLOCK, row.shape[0])]
        a, b, c, d = block_sums(part, low, beta, double)
        totals[i] = a
        z += a
        m1 += b
        m2 += c
        q += d
    return z, m1, m2, q
