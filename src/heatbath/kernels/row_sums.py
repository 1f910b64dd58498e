r"""Four sums over a row: $Z=\sum_v w_v$, $\sum w d$, $\sum w d^2$, $\sum w^2$ with $w=e^{-\beta d}$, $d=E-E_0$.

Two passes over a row that stays in cache: the ground energy first, then the sums relative to it. Weights are float32
for energies of 32 bits and fewer, float64 otherwise; sums are always float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heatbath.kernels.exp2 import LOG2E, exp2_32, exp2_64
from heatbath.kernels.float_bits import GOOD, find_extremes, from_key, key, value
from heatbath.kernels.jit import jit, jit_reassoc

WIDEST_32, LEAST_32, MOST_32 = 1e37, 1e-30, 1e30
"""Limits on the range of energies and on beta beyond which float32 could overflow; such rows use float64."""


@jit_reassoc
def sums_32(row: Any, ground: Any, rate: Any) -> Any:
    """Return the four sums, in float32 arithmetic with float64 totals; `rate` is beta log2 e."""
    z, m1, m2, q = 0.0, 0.0, 0.0, 0.0
    for v in range(row.shape[0]):
        excess = np.float32(value(row[v]) - ground)
        y = excess * rate
        near = y < np.float32(126.0)
        w = np.float64(exp2_32(y if near else np.float32(126.0))) if near else 0.0
        d = np.float64(excess) if near else 0.0
        z += w
        q += w * w
        m1 += w * d
        m2 += w * d * d
    return z, m1, m2, q


@jit_reassoc
def sums_64(row: Any, ground: Any, beta: Any) -> Any:
    """Return the four sums in float64."""
    z, m1, m2, q = 0.0, 0.0, 0.0, 0.0
    for v in range(row.shape[0]):
        excess = np.float64(value(row[v])) - ground
        y = excess * beta * LOG2E
        near = y < 1022.0
        w = exp2_64(y if near else 1022.0) if near else 0.0
        d = excess if near else 0.0
        z += w
        q += w * w
        m1 += w * d
        m2 += w * d * d
    return z, m1, m2, q


@jit
def count_ties(row: Any, low: Any) -> Any:
    """Count the states at the ground energy."""
    count = 0
    for v in range(row.shape[0]):
        count += 1 if key(row[v]) == low else 0
    return count


@jit
def fits_float32(row: Any, ground: Any, high: Any, beta: Any) -> Any:
    """Test that float32 weights cannot overflow for this row."""
    return np.float64(from_key(high, row[0])) - ground < WIDEST_32 and (beta == 0.0 or LEAST_32 < beta < MOST_32)


@jit
def row_sums(row: Any, low: Any, high: Any, beta: Any, double: Any) -> Any:
    """Return the four sums of a good row at any beta from 0 to inf."""
    if math.isinf(beta):
        count = np.float64(count_ties(row, low))
        return count, 0.0, 0.0, count
    ground = from_key(low, row[0])
    if double or not fits_float32(row, np.float64(ground), high, beta):
        return sums_64(row, np.float64(ground), beta)
    return sums_32(row, np.float32(ground), np.float32(beta * LOG2E))


@jit
def fill_sums(start: Any, stop: Any, words: Any, betas: Any, double: Any, out: Any) -> Any:
    """Fill out (B, K, 6) with status, ground and the four sums at betas (B or 1, K)."""
    for b in range(start, stop):
        row = words[b]
        low, high, status = find_extremes(row)
        row_betas = betas[b % betas.shape[0]]
        for k in range(row_betas.shape[0]):
            out[b, k, 0] = status
            if status == GOOD:
                out[b, k, 1] = from_key(low, row[0])
                z, m1, m2, q = row_sums(row, low, high, row_betas[k], double)
                out[b, k, 2], out[b, k, 3], out[b, k, 4], out[b, k, 5] = z, m1, m2, q


@jit
def select_states(start: Any, stop: Any, words: Any, index: Any, out: Any) -> Any:
    """Fill out (B, 2) with the energy of one state per row and the number of states below it."""
    for b in range(start, stop):
        row = words[b]
        energy = value(row[index[b]])
        below = 0
        for v in range(row.shape[0]):
            below += 1 if value(row[v]) < energy else 0
        out[b, 0], out[b, 1] = energy, below
