"""Draws by inverting the cumulative distribution of each row: first over block totals, then within one block.

The block totals come with the moments of the row, so that one pass gives both a draw and its thermodynamics.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from heatbath.kernels.block_sums import BLOCK, fits_float32_blocks, sum_blocks, weight
from heatbath.kernels.float_bits import GOOD, find_extremes, from_key, value
from heatbath.kernels.jit import jit


@jit
def find_block(totals: Any, target: Any) -> Any:
    """Return the block in which the running total passes the target, never an empty one, and the total before it."""
    running, before, block = 0.0, 0.0, 0
    for i in range(totals.shape[0]):
        if totals[i] > 0.0:
            block, before = i, running
            running += totals[i]
            if running > target:
                break
    return block, before


@jit
def find_state(row: Any, low: Any, beta: Any, double: Any, target: Any, totals: Any) -> Any:
    """Return the state at which the cumulative weight of a good row first exceeds `target`."""
    block, running = find_block(totals, target)
    state = -1
    for v in range(block * BLOCK, min((block + 1) * BLOCK, row.shape[0])):
        w = weight(row[v], low, beta, double)
        if w > 0.0:
            state = v
            running += w
            if running > target:
                break
    return state


@jit
def count_below(row: Any, energy: Any) -> Any:
    """Count the states strictly below an energy."""
    count = np.int32(0)
    for v in range(row.shape[0]):
        count += np.int32(1) if value(row[v]) < energy else np.int32(0)
    return count


@jit
def draw_states(
    start: Any, stop: Any, words: Any, betas: Any, uniform: Any, double: Any, index: Any, status: Any
) -> Any:
    """Fill index (N,) with one draw per row at betas (N,), and status (N,)."""
    totals = np.empty((words.shape[1] + BLOCK - 1) // BLOCK)
    for b in range(start, stop):
        row = words[b]
        low, high, row_status = find_extremes(row)
        status[b] = row_status
        index[b] = -1
        if row_status == GOOD:
            wide = double or not fits_float32_blocks(row, low, high, betas[b])
            z, _, _, _ = sum_blocks(row, low, betas[b], wide, totals)
            index[b] = find_state(row, low, betas[b], wide, uniform[b] * z, totals)


@jit
def draw_and_observe(
    start: Any, stop: Any, words: Any, betas: Any, uniform: Any, other_beta: Any, double: Any, index: Any, out: Any
) -> Any:
    """Fill index (N,) as `draw_states` does, and out (N, 9) with statistics of each row.

    The columns are status, ground and four sums; energy of the drawn state and number of states below it; Z at
    `other_beta`.
    """
    totals = np.empty((words.shape[1] + BLOCK - 1) // BLOCK)
    for b in range(start, stop):
        row = words[b]
        low, high, row_status = find_extremes(row)
        out[b, 0] = row_status
        index[b] = -1
        if row_status == GOOD:
            wide = double or not fits_float32_blocks(row, low, high, betas[b])
            z, m1, m2, q = sum_blocks(row, low, betas[b], wide, totals)
            state = find_state(row, low, betas[b], wide, uniform[b] * z, totals)
            energy = value(row[state])
            index[b] = state
            out[b, 1], out[b, 2], out[b, 3], out[b, 4], out[b, 5] = from_key(low, row[0]), z, m1, m2, q
            out[b, 6], out[b, 7], out[b, 8] = energy, count_below(row, energy), z
            if betas[b] != other_beta:
                wide = double or not fits_float32_blocks(row, low, high, other_beta)
                out[b, 8] = sum_blocks(row, low, other_beta, wide, totals)[0]
