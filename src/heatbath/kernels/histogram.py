r"""Sums at many temperatures from one histogram of the energies.

Energies of 16 bits take few values, so counting them is exact. Wider ones are counted in bins of the float32 number
$y=E-E_0+d_0$, 512 to the octave, so that a bin's width grows with its height above the ground, where less precision is
needed (`binning`). Each bin holds count, sum and sum of squares of the places within the bin, as exact integers.
Within a bin of mean $\mu$ and variance $v$ the Boltzmann factor is expanded to second order,
$\sum e^{-\beta E}\simeq n e^{-\beta\mu}(1+\beta^2 v/2)$, which leaves at most $0.017(\beta w)^3$ of the bin's weight,
$\beta w\le(\beta d+4)/512$ for its width $w$.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heatbath.kernels.binning import CHUNK, MAX_EXPONENT, SPARE_BINS, add_to_bins, collect_bins
from heatbath.kernels.exp2 import LOG2E, exp2_64
from heatbath.kernels.float_bits import GOOD, cast_like, find_extremes, from_key, infinity_key, value
from heatbath.kernels.jit import jit, jit_reassoc

NEGATIVE_OFFSET, RUN_LENGTH = 1 << 15, 128
"""First 16-bit word of a negative energy, and the number of counts tested together."""


@jit
def count_words(row: Any, counts: Any) -> Any:
    """Count a row of 16-bit words; -0.0 counts as 0.0."""
    for v in range(row.shape[0]):
        counts[np.uint64(np.uint16(row[v]))] += np.uint32(1)
    counts[0] += counts[NEGATIVE_OFFSET]
    counts[NEGATIVE_OFFSET] = 0


@jit
def is_occupied(counts: Any, first: Any) -> Any:
    """Test whether any of RUN_LENGTH counts is not zero."""
    union = np.uint32(0)
    for i in range(RUN_LENGTH):
        union |= counts[np.uint64(first + i)]
    return union != 0


@jit
def collect_levels(row: Any, ground: Any, counts: Any, levels: Any) -> Any:
    """Fill `levels` with height and count of each distinct finite energy, lowest first; empty the counts.

    Words of negative energies are their magnitudes plus a sign bit, so they are read backwards. Returns the number of
    levels.
    """
    counts[infinity_key(row[0])] = 0
    found = 0
    for step in range(2 * NEGATIVE_OFFSET // RUN_LENGTH):
        backwards = step < NEGATIVE_OFFSET // RUN_LENGTH
        first = 2 * NEGATIVE_OFFSET - RUN_LENGTH * (step + 1) if backwards else RUN_LENGTH * step - NEGATIVE_OFFSET
        if is_occupied(counts, first):
            for i in range(RUN_LENGTH):
                word = first + (RUN_LENGTH - 1 - i if backwards else i)
                if counts[word] != 0:
                    levels[0, found] = np.float64(value(cast_like(word, row[0]))) - ground
                    levels[1, found] = counts[word]
                    levels[2, found] = 0.0
                    found += 1
                    counts[word] = 0
    return found


@jit_reassoc
def level_sums(levels: Any, num_levels: Any, beta: Any) -> Any:
    """Return the four sums over levels sorted by height, at a finite beta."""
    z, m1, m2, q = 0.0, 0.0, 0.0, 0.0
    for i in range(num_levels):
        d, n, v = levels[0, i], levels[1, i], levels[2, i]
        w = exp2_64(beta * d * LOG2E)
        nv = n * v
        a0 = n + 0.5 * beta * beta * nv
        a1 = -beta * nv
        z += w * a0
        m1 += w * (d * a0 + a1)
        m2 += w * (d * d * a0 + 2.0 * d * a1 + nv)
        q += w * w * (n + 2.0 * beta * beta * nv)
    return z, m1, m2, q


@jit
def fill_curve(levels: Any, num_levels: Any, betas: Any, max_exponent: Any, out: Any) -> Any:
    """Fill columns 2 to 5 of out (K, 6) with the four sums at each beta, over levels with beta d up to `max_exponent`.

    Only the first `num_levels` columns of `levels` are read.
    """
    for k in range(betas.shape[0]):
        beta = betas[k]
        if math.isinf(beta):
            z, m1, m2, q = levels[1, 0], 0.0, 0.0, levels[1, 0]
        else:
            heights = levels[0, :num_levels]
            count = np.searchsorted(heights, max_exponent / beta, side="right") if beta > 0.0 else num_levels
            z, m1, m2, q = level_sums(levels, count, beta)
        out[k, 2], out[k, 3], out[k, 4], out[k, 5] = z, m1, m2, q


@jit
def fill_binned_sums(start: Any, stop: Any, words: Any, betas: Any, offset: Any, bins: Any, out: Any) -> Any:
    """Fill out (B, K, 6) with status, ground and the four sums at shared betas (K,), positive and finite."""
    pairs = np.zeros((bins + SPARE_BINS, 2), np.uint64)
    levels = np.empty((3, bins))
    places = np.empty(CHUNK, np.uint32)
    for b in range(start, stop):
        row = words[b]
        low, _, status = find_extremes(row)
        out[b, :, 0] = status
        if status == GOOD:
            ground = from_key(low, row[0])
            out[b, :, 1] = ground
            add_to_bins(row, ground, np.float32(offset), places, pairs)
            num_levels = collect_bins(pairs, offset, levels)
            fill_curve(levels, num_levels, betas, MAX_EXPONENT, out[b])


@jit
def fill_counted_sums(start: Any, stop: Any, words: Any, betas: Any, max_exponent: Any, out: Any) -> Any:
    """Fill out (B, K, 6) with status, ground and the four sums at betas (B or 1, K), for words of 16 bits.

    Exact except that levels with beta d beyond `max_exponent` are left out.
    """
    counts = np.zeros(65536, np.uint32)
    levels = np.empty((3, min(65536, words.shape[1])))
    for b in range(start, stop):
        row = words[b]
        low, _, status = find_extremes(row)
        out[b, :, 0] = status
        if status == GOOD:
            out[b, :, 1] = from_key(low, row[0])
            count_words(row, counts)
            num_levels = collect_levels(row, np.float64(from_key(low, row[0])), counts, levels)
            fill_curve(levels, num_levels, betas[b % betas.shape[0]], max_exponent, out[b])
