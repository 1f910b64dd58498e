"""A row in blocks: what draws and moments are made of, summed in one reading."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heatbath.ensemble.kernels.direct import MAX_BETA_32, MIN_BETA_32, count_ties, sums_64
from heatbath.ensemble.kernels.exponent import LOG2E, exp2_32, exp2_64
from heatbath.ensemble.kernels.jit import compile_exact, compile_reordered
from heatbath.ensemble.kernels.words import from_key, key, value

BLOCK_SIZE = 256
MAX_BLOCK_SPAN = 1e15
"""Beyond this range of energies their squares would overflow float32, and the row is summed in float64."""


@compile_exact
def weight_32(word: Any, ground: Any, rate: Any) -> Any:
    """exp(-beta d) in float32; exactly 0 for an absent state."""
    y = np.float32(value(word) - ground) * rate
    near = y < np.float32(126.0)
    return np.float64(exp2_32(y if near else np.float32(126.0))) if near else 0.0


@compile_exact
def weight_64(word: Any, ground: Any, beta: Any) -> Any:
    """exp(-beta d) in float64; exactly 0 for an absent state."""
    y = (np.float64(value(word)) - ground) * beta * LOG2E
    near = y < 1022.0
    return exp2_64(y if near else 1022.0) if near else 0.0


@compile_exact
def ground_weight(word: Any, low: Any) -> Any:
    """One for a ground state, zero for any other."""
    return 1.0 if key(word) == low else 0.0


@compile_exact
def weight(word: Any, low: Any, beta: Any, double: Any) -> Any:
    """Weight of one state."""
    if math.isinf(beta):
        return ground_weight(word, low)
    ground = from_key(low, word)
    if double:
        return weight_64(word, np.float64(ground), beta)
    return weight_32(word, np.float32(ground), np.float32(beta * LOG2E))


@compile_reordered
def block_sums_32(part: Any, ground: Any, rate: Any) -> Any:
    """The four sums over a block in float32: of so few that little is lost, and three times as fast."""
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


@compile_exact
def block_sums(part: Any, low: Any, beta: Any, double: Any) -> Any:
    """The four sums over a block of a row with the lowest key `low`, at any beta from 0 to inf."""
    if math.isinf(beta):
        count = np.float64(count_ties(part, low))
        return count, 0.0, 0.0, count
    ground = from_key(low, part[0])
    if double:
        return sums_64(part, np.float64(ground), beta)
    return block_sums_32(part, np.float32(ground), np.float32(beta * LOG2E))


@compile_exact
def fits_float32_blocks(row: Any, low: Any, high: Any, beta: Any) -> Any:
    """Whether float32 sums are safe for this row."""
    span = np.float64(from_key(high, row[0])) - np.float64(from_key(low, row[0]))
    return span < MAX_BLOCK_SPAN and (beta == 0.0 or MIN_BETA_32 < beta < MAX_BETA_32)


@compile_exact
def sums(row: Any, low: Any, beta: Any, double: Any, totals: Any) -> Any:
    """The four sums of a row; `totals` gets the weight of each block."""
    z, m1, m2, q = 0.0, 0.0, 0.0, 0.0
    for i in range(totals.shape[0]):
        # A slice, since the compiler then sees that no index is negative: twice as fast.
        part = row[i * BLOCK_SIZE : min((i + 1) * BLOCK_SIZE, row.shape[0])]
        a, b, c, d = block_sums(part, low, beta, double)
        totals[i] = a
        z += a
        m1 += b
        m2 += c
        q += d
    return z, m1, m2, q
