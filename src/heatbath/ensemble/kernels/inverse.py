"""The inverse of the cumulative distribution, row by row: totals of blocks first, then the one block that matters.

The totals come with the moments of the row, so that a draw and the thermodynamics of what it is from are one reading.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from heatbath.ensemble.kernels.blocks import BLOCK_SIZE, fits_float32_blocks, sums, weight
from heatbath.ensemble.kernels.jit import compile_exact
from heatbath.ensemble.kernels.words import GOOD, find_extremes, from_key, value


@compile_exact
def find_block(totals: Any, target: Any) -> Any:
    """The block in which the running total passes the target, and the total before it; never an empty block."""
    before, held, block = 0.0, 0.0, 0
    for i in range(totals.shape[0]):
        if totals[i] > 0.0:
            block, held = i, before
            before += totals[i]
            if before > target:
                break
    return block, held


@compile_exact
def find_state(row: Any, low: Any, beta: Any, double: Any, target: Any, totals: Any) -> Any:
    """The state at which the cumulative weight of a good row first exceeds `target`."""
    block, running = find_block(totals, target)
    state = -1
    for v in range(block * BLOCK_SIZE, min((block + 1) * BLOCK_SIZE, row.shape[0])):
        w = weight(row[v], low, beta, double)
        if w > 0.0:
            state = v
            running += w
            if running > target:
                break
    return state


@compile_exact
def count_below(row: Any, energy: Any) -> Any:
    """How many states lie strictly below an energy."""
    count = np.int32(0)
    for v in range(row.shape[0]):
        count += np.int32(1) if value(row[v]) < energy else np.int32(0)
    return count


@compile_exact
def draw(start: Any, stop: Any, words: Any, betas: Any, uniform: Any, double: Any, index: Any, status: Any) -> Any:
    """Fill index (N,) with one draw a row at betas (N,), and status (N,)."""
    totals = np.empty((words.shape[1] + BLOCK_SIZE - 1) // BLOCK_SIZE)
    for b in range(start, stop):
        row = words[b]
        low, high, found = find_extremes(row)
        status[b] = found
        index[b] = -1
        if found == GOOD:
            wide = double or not fits_float32_blocks(row, low, high, betas[b])
            z, _, _, _ = sums(row, low, betas[b], wide, totals)
            index[b] = find_state(row, low, betas[b], wide, uniform[b] * z, totals)


@compile_exact
def draw_and_sum(
    start: Any, stop: Any, words: Any, betas: Any, uniform: Any, other_beta: Any, double: Any, index: Any, out: Any
) -> Any:
    """Fill index (N,) as `draw` does, and out (N, 9).

    That is status, ground and four sums; energy of the drawn state and number of states below it; Z at `also`.
    """
    totals = np.empty((words.shape[1] + BLOCK_SIZE - 1) // BLOCK_SIZE)
    for b in range(start, stop):
        row = words[b]
        low, high, found = find_extremes(row)
        out[b, 0] = found
        index[b] = -1
        if found == GOOD:
            wide = double or not fits_float32_blocks(row, low, high, betas[b])
            z, m1, m2, q = sums(row, low, betas[b], wide, totals)
            state = find_state(row, low, betas[b], wide, uniform[b] * z, totals)
            energy = value(row[state])
            index[b] = state
            out[b, 1], out[b, 2], out[b, 3], out[b, 4], out[b, 5] = from_key(low, row[0]), z, m1, m2, q
            out[b, 6], out[b, 7], out[b, 8] = energy, count_below(row, energy), z
            if betas[b] != other_beta:
                out[b, 8] = sums(
                    row, low, other_beta, double or not fits_float32_blocks(row, low, high, other_beta), totals
                )[0]
