"""The inverse of the cumulative distribution, row by row: totals of blocks first, then the one block that matters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heatbath.ensemble.kernels.direct import narrow
from heatbath.ensemble.kernels.exponent import LOG2E, exp2_32, exp2_64
from heatbath.ensemble.kernels.jit import compiled, summed
from heatbath.ensemble.kernels.words import GOOD, extremes, from_key, key, value

BLOCK = 256


@compiled
def weight_32(word: Any, ground: Any, rate: Any) -> Any:
    """exp(-beta d) in float32; exactly 0 for an absent state."""
    y = np.float32(value(word) - ground) * rate
    near = y < np.float32(126.0)
    return np.float64(exp2_32(y if near else np.float32(126.0))) if near else 0.0


@compiled
def weight_64(word: Any, ground: Any, beta: Any) -> Any:
    """exp(-beta d) in float64; exactly 0 for an absent state."""
    y = (np.float64(value(word)) - ground) * beta * LOG2E
    near = y < 1022.0
    return exp2_64(y if near else 1022.0) if near else 0.0


@compiled
def weight_tied(word: Any, low: Any) -> Any:
    """One for a ground state, zero for any other."""
    return 1.0 if key(word) == low else 0.0


@summed
def total_32(row: Any, first: Any, last: Any, ground: Any, rate: Any) -> Any:
    total = 0.0
    for v in range(first, last):
        total += weight_32(row[v], ground, rate)
    return total


@summed
def total_64(row: Any, first: Any, last: Any, ground: Any, beta: Any) -> Any:
    total = 0.0
    for v in range(first, last):
        total += weight_64(row[v], ground, beta)
    return total


@summed
def total_tied(row: Any, first: Any, last: Any, low: Any) -> Any:
    total = 0.0
    for v in range(first, last):
        total += weight_tied(row[v], low)
    return total


@compiled
def total(row: Any, first: Any, last: Any, low: Any, beta: Any, double: Any) -> Any:
    """Sum of weights of the states first to last."""
    if math.isinf(beta):
        return total_tied(row, first, last, low)
    ground = from_key(low, row[0])
    if double:
        return total_64(row, first, last, np.float64(ground), beta)
    return total_32(row, first, last, np.float32(ground), np.float32(beta * LOG2E))


@compiled
def weight(word: Any, low: Any, beta: Any, double: Any) -> Any:
    """Weight of one state."""
    if math.isinf(beta):
        return weight_tied(word, low)
    ground = from_key(low, word)
    if double:
        return weight_64(word, np.float64(ground), beta)
    return weight_32(word, np.float32(ground), np.float32(beta * LOG2E))


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
def pick(row: Any, low: Any, beta: Any, uniform: Any, double: Any, totals: Any) -> Any:
    """The state at which the cumulative weight of a good row first exceeds `uniform` of the total."""
    states = row.shape[0]
    whole = 0.0
    for i in range(totals.shape[0]):
        totals[i] = total(row, i * BLOCK, min((i + 1) * BLOCK, states), low, beta, double)
        whole += totals[i]
    target = uniform * whole
    block, running = find(totals, target)
    state = -1
    for v in range(block * BLOCK, min((block + 1) * BLOCK, states)):
        w = weight(row[v], low, beta, double)
        if w > 0.0:
            state = v
            running += w
            if running > target:
                break
    return state


@compiled
def draw(start: Any, stop: Any, words: Any, betas: Any, uniform: Any, double: Any, index: Any, status: Any) -> Any:
    """Fill index (N,) with one draw a row at betas (N,), and status (N,)."""
    totals = np.empty((words.shape[1] + BLOCK - 1) // BLOCK)
    for b in range(start, stop):
        low, high, found = extremes(words[b])
        status[b] = found
        index[b] = -1
        if found == GOOD:
            ground = np.float64(from_key(low, words[b, 0]))
            wide = double or not narrow(words[b], ground, high, betas[b])
            index[b] = pick(words[b], low, betas[b], uniform[b], wide, totals)
