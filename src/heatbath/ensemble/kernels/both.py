r"""A draw and the thermodynamics of what it is from, in one reading of a row.

Blocks of the row give totals for the draw, as in `inverse`, and the moments besides. Sums of weights are those of the
draw; what is summed for the moments alone is float32 within a block and float64 from block to block.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heatbath.ensemble.kernels.direct import narrow, sums_64, ties
from heatbath.ensemble.kernels.exponent import LOG2E, exp2_32
from heatbath.ensemble.kernels.inverse import BLOCK, find, total, weight
from heatbath.ensemble.kernels.jit import compiled, summed
from heatbath.ensemble.kernels.words import GOOD, extremes, from_key, value


@summed
def block_sums(row: Any, first: Any, last: Any, ground: Any, rate: Any) -> Any:
    """The four sums over a block, in float32 but for Z."""
    z = 0.0
    m1, m2, q = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for v in range(first, last):
        excess = np.float32(value(row[v]) - ground)
        y = excess * rate
        near = y < np.float32(126.0)
        w = exp2_32(y if near else np.float32(126.0)) if near else np.float32(0.0)
        d = excess if near else np.float32(0.0)
        wd = w * d
        z += np.float64(w)
        q += w * w
        m1 += wd
        m2 += wd * d
    return z, np.float64(m1), np.float64(m2), np.float64(q)


@compiled
def moments_32(row: Any, low: Any, beta: Any, totals: Any) -> Any:
    """The four sums of a row in float32 arithmetic; `totals` gets the weight of each block."""
    ground, rate = np.float32(from_key(low, row[0])), np.float32(beta * LOG2E)
    z, m1, m2, q = 0.0, 0.0, 0.0, 0.0
    for i in range(totals.shape[0]):
        a, b, c, d = block_sums(row, i * BLOCK, min((i + 1) * BLOCK, row.shape[0]), ground, rate)
        totals[i] = a
        z += a
        m1 += b
        m2 += c
        q += d
    return z, m1, m2, q


@compiled
def moments(row: Any, low: Any, beta: Any, double: Any, totals: Any) -> Any:
    """The four sums of a good row at any beta; `totals` gets the weight of each block."""
    if not double and not math.isinf(beta):
        return moments_32(row, low, beta, totals)
    for i in range(totals.shape[0]):
        totals[i] = total(row, i * BLOCK, min((i + 1) * BLOCK, row.shape[0]), low, beta, double)
    if math.isinf(beta):
        count = np.float64(ties(row, low))
        return count, 0.0, 0.0, count
    return sums_64(row, np.float64(from_key(low, row[0])), beta)


@compiled
def picked(row: Any, low: Any, beta: Any, uniform: Any, double: Any, totals: Any) -> Any:
    """The state at which the cumulative weight first exceeds `uniform` of the total."""
    whole = 0.0
    for i in range(totals.shape[0]):
        whole += totals[i]
    target = uniform * whole
    block, running = find(totals, target)
    state = -1
    for v in range(block * BLOCK, min((block + 1) * BLOCK, row.shape[0])):
        w = weight(row[v], low, beta, double)
        if w > 0.0:
            state = v
            running += w
            if running > target:
                break
    return state


@compiled
def below(row: Any, energy: Any) -> Any:
    """How many states lie strictly below an energy."""
    count = np.int32(0)
    for v in range(row.shape[0]):
        count += np.int32(1) if value(row[v]) < energy else np.int32(0)
    return count


@compiled
def whole_weight(row: Any, low: Any, high: Any, beta: Any, double: Any) -> Any:
    """Z at one more beta."""
    ground = np.float64(from_key(low, row[0]))
    wide = double or not narrow(row, ground, high, beta)
    return total(row, 0, row.shape[0], low, beta, wide)


@compiled
def drawn(
    start: Any, stop: Any, words: Any, betas: Any, uniform: Any, also: Any, double: Any, index: Any, out: Any
) -> None:
    """Fill index (N,), and out (N, 9): status, ground, four sums, the state's energy, states below it, Z at `also`."""
    totals = np.empty((words.shape[1] + BLOCK - 1) // BLOCK)
    for b in range(start, stop):
        row = words[b]
        low, high, status = extremes(row)
        out[b, 0] = status
        index[b] = -1
        if status == GOOD:
            ground = np.float64(from_key(low, row[0]))
            wide = double or not narrow(row, ground, high, betas[b])
            z, m1, m2, q = moments(row, low, betas[b], wide, totals)
            v = picked(row, low, betas[b], uniform[b], wide, totals)
            energy = value(row[v])
            index[b] = v
            out[b, 1], out[b, 2], out[b, 3], out[b, 4], out[b, 5] = ground, z, m1, m2, q
            out[b, 6], out[b, 7] = energy, below(row, energy)
            out[b, 8] = z if betas[b] == also else whole_weight(row, low, high, also, double)
