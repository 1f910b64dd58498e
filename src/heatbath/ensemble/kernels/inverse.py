"""The inverse of the cumulative distribution, row by row: totals of blocks first, then the one block that matters.

The totals come with the moments of the row, so that a draw and the thermodynamics of what it is from are one reading.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from heatbath.ensemble.kernels.blocks import BLOCK, slim, sums, weight
from heatbath.ensemble.kernels.jit import compiled
from heatbath.ensemble.kernels.words import GOOD, extremes, from_key, value


@compiled
def find(totals: Any, target: Any) -> Any:
    """The block in which the running total passes the target, and the total before it; never an empty block."""
    before, held, block = 0.0, 0.0, 0
    for i in range(totals.shape[0]):
        if totals[i] > 0.0:
            block, held = i, before
            before += totals[i]
            if before > target:
                break
    return block, held


@compiled
def pick(row: Any, low: Any, beta: Any, double: Any, target: Any, totals: Any) -> Any:
    """The state at which the cumulative weight of a good row first exceeds `target`."""
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
def draw(start: Any, stop: Any, words: Any, betas: Any, uniform: Any, double: Any, index: Any, status: Any) -> Any:
    """Fill index (N,) with one draw a row at betas (N,), and status (N,)."""
    totals = np.empty((words.shape[1] + BLOCK - 1) // BLOCK)
    for b in range(start, stop):
        row = words[b]
        low, high, found = extremes(row)
        status[b] = found
        index[b] = -1
        if found == GOOD:
            wide = double or not slim(row, low, high, betas[b])
            z, _, _, _ = sums(row, low, betas[b], wide, totals)
            index[b] = pick(row, low, betas[b], wide, uniform[b] * z, totals)


@compiled
def observed(
    start: Any, stop: Any, words: Any, betas: Any, uniform: Any, also: Any, double: Any, index: Any, out: Any
) -> Any:
    """Fill index (N,) as `draw` does, and out (N, 9).

    That is status, ground and four sums; energy of the drawn state and number of states below it; Z at `also`.
    """
    totals = np.empty((words.shape[1] + BLOCK - 1) // BLOCK)
    for b in range(start, stop):
        row = words[b]
        low, high, found = extremes(row)
        out[b, 0] = found
        index[b] = -1
        if found == GOOD:
            wide = double or not slim(row, low, high, betas[b])
            z, m1, m2, q = sums(row, low, betas[b], wide, totals)
            state = pick(row, low, betas[b], wide, uniform[b] * z, totals)
            energy = value(row[state])
            index[b] = state
            out[b, 1], out[b, 2], out[b, 3], out[b, 4], out[b, 5] = from_key(low, row[0]), z, m1, m2, q
            out[b, 6], out[b, 7], out[b, 8] = energy, below(row, energy), z
            if betas[b] != also:
                out[b, 8] = sums(row, low, also, double or not slim(row, low, high, also), totals)[0]
