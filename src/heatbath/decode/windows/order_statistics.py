"""Order statistics without sorting: the k-th lowest energy of a row, the spread, the highest energy below a limit."""

from __future__ import annotations

from typing import Any

import numpy as np

from heatbath.decode.windows.sorting import select, sort
from heatbath.kernels.float_bits import from_key, infinity_key, key, value
from heatbath.kernels.jit import jit, jit_reassoc

BLOCK_SIZE, BLOCKS_PER_K = 64, 4
"""States per block, and the lowest number of blocks per k; blocks get smaller where k needs more of them."""


@jit
def lowest_key(row: Any, first: Any, last: Any) -> Any:
    """Return the lowest key of a block."""
    low = key(row[first])
    for v in range(first, last):
        low = min(low, key(row[v]))
    return low


@jit
def collect_keys_within(row: Any, minima: Any, size: Any, limit: Any, near: Any) -> Any:
    """Write the keys that are at most `limit` to `near` and return their number."""
    found = 0
    for i in range(minima.shape[0]):
        if minima[i] <= limit:
            for v in range(i * size, min((i + 1) * size, row.shape[0])):
                order = key(row[v])
                if order <= limit:
                    near[found] = order
                    found += 1
    return found


@jit
def select_lowest_keys(row: Any, k: Any, minima: Any, near: Any) -> Any:
    """Fill the front of `near` with the k lowest keys, unordered except that the k-th lowest is the last of them.

    Only keys up to the k-th lowest of the blocks' minima are collected: k states are at or below it.
    """
    size = max(1, min(BLOCK_SIZE, row.shape[0] // (BLOCKS_PER_K * k)))
    blocks = (row.shape[0] + size - 1) // size
    for i in range(blocks):
        minima[i] = lowest_key(row, i * size, min((i + 1) * size, row.shape[0]))
    near[:blocks] = minima[:blocks]
    limit = select(near[:blocks], k - 1) if k <= blocks else np.int64(infinity_key(row[0]))
    found = collect_keys_within(row, minima[:blocks], size, limit, near)
    select(near[:found], k - 1)


@jit
def fill_kth_lowest(start: Any, stop: Any, words: Any, k: Any, out: Any) -> Any:
    """Fill out (B,) with the k-th lowest energy for k (B,), ties counted; +inf where fewer states are present."""
    minima, near = np.empty(words.shape[1], np.int64), np.empty(words.shape[1], np.int64)
    for b in range(start, stop):
        select_lowest_keys(words[b], k[b], minima, near)
        out[b] = from_key(near[k[b] - 1], words[b, 0])


@jit
def fill_lowest(start: Any, stop: Any, words: Any, out: Any) -> Any:
    """Fill out (B, k) with the k lowest energies, in order; +inf where fewer states are present."""
    minima, near = np.empty(words.shape[1], np.int64), np.empty(words.shape[1], np.int64)
    k = out.shape[1]
    for b in range(start, stop):
        select_lowest_keys(words[b], k, minima, near)
        sort(near[:k], near[:k].copy())
        for i in range(k):
            out[b, i] = from_key(near[i], words[b, 0])


@jit_reassoc
def moments(row: Any, centre: Any) -> Any:
    """Return the number of present states, the sum of their distances from `centre` and the sum of the squares."""
    count, total, squares = 0.0, 0.0, 0.0
    for v in range(row.shape[0]):
        energy = value(row[v])
        present = energy < np.inf
        away = np.float64(energy - centre if present else centre - centre)
        count += 1.0 if present else 0.0
        total += away
        squares += away * away
    return count, total, squares


@jit
def fill_count_and_std(start: Any, stop: Any, words: Any, ground: Any, out: Any) -> Any:
    """Fill out (B, 2) with the number of present states and the standard deviation of their energies."""
    for b in range(start, stop):
        count, total, squares = moments(words[b], ground[b])
        mean = total / count
        out[b, 0], out[b, 1] = count, np.sqrt(max(0.0, squares / count - mean * mean))


@jit
def fill_highest_within(start: Any, stop: Any, words: Any, limit: Any, out: Any) -> Any:
    """Fill out (B,) with the highest finite energy that is no more than `limit` (B,), of the words' own width."""
    outermost = infinity_key(words[0, 0])
    for b in range(start, stop):
        row, top, best = words[b], limit[b], -outermost
        for v in range(row.shape[0]):
            order = key(row[v])
            good = (value(row[v]) <= top) & (order < outermost)
            best = max(best, order if good else -outermost)
        out[b] = from_key(best, row[0])
