r"""Sums at many temperatures from one histogram of the energies.

Energies of 16 bits take few values, so counting them is exact. Wider ones are counted in bins of the float32 number
$y=E-E_0+d_0$, 512 to the octave, so that a bin's width grows with its height above the ground, where less precision is
needed. Each bin holds count, sum and sum of squares of the places within the bin, as exact integers.
Within a bin of mean $\mu$ and variance $v$ the Boltzmann factor is expanded to second order,
$\sum e^{-\beta E}\simeq n e^{-\beta\mu}(1+\beta^2 v/2)$, which leaves at most $0.017(\beta w)^3$ of the bin's weight,
$\beta w\le(\beta d+4)/512$ for its width $w$.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heatbath.kernels.exp2 import LOG2E, exp2_64
from heatbath.kernels.float_bits import GOOD, cast_like, find_extremes, from_key, infinity_key, value
from heatbath.kernels.jit import jit, jit_reassoc

BINS_PER_OCTAVE = 512
PLACE_BITS = 23 - 9
"""Bits of a float32's fraction that give the place within a bin."""
MIN_BETA, MAX_BETA = 1e-25, 1e25
"""Range of betas for bins: within it every height that matters is a float32 number."""
MAX_EXPONENT = 45.0
"""States with beta d beyond this weigh less than 3e-20 of the ground state and are left out."""
CHUNK = 1024
NEGATIVE_OFFSET, RUN_LENGTH = 1 << 15, 128
"""First 16-bit word of a negative energy, and the number of counts tested together."""


def bin_layout(min_beta: float, max_beta: float) -> tuple[float, int]:
    """Return the offset d_0 and the number of bins for betas in [min_beta, max_beta].

    The offset is a power of two, so that no bin straddles two octaves.
    """
    offset = 2.0 ** math.ceil(math.log2(2.0 / max_beta))
    octaves = math.ceil(math.log2(1.0 + MAX_EXPONENT / min_beta / offset))
    return offset, BINS_PER_OCTAVE * octaves


@jit
def compute_bin_places(part: Any, ground: Any, offset: Any, top: Any, places: Any) -> Any:
    """Fill `places` with the bits of y = E - ground + offset above those of the offset, at most `top`."""
    base = np.float32(offset).view(np.int32)
    for j in range(part.shape[0]):
        y = np.float32(np.float32(value(part[j]) - ground) + offset)
        places[j] = np.uint32(min(np.int32(y.view(np.int32) - base), top))


@jit
def add_to_bins(places: Any, packed: Any, squares: Any) -> Any:
    """Add places to the bins: count (upper 24 bits) and sum packed in one integer, and sum of squares."""
    for j in range(places.shape[0]):
        above = np.uint64(places[j])
        place = above & np.uint64((1 << PLACE_BITS) - 1)
        bin = above >> np.uint64(PLACE_BITS)
        packed[bin] += place | np.uint64(1 << 40)
        squares[bin] += place * place


@jit
def collect_bins(packed: Any, squares: Any, offset: Any, levels: Any) -> Any:
    """Fill `levels` with mean height above the ground, count and variance of each occupied bin; empty the bins.

    The last bin holds the states that are too high to count. Returns the number of levels.
    """
    found = 0
    for octave in range(packed.shape[0] // BINS_PER_OCTAVE):
        start = offset * 2.0**octave
        width = start / BINS_PER_OCTAVE
        unit = width / (1 << PLACE_BITS)
        for i in range(BINS_PER_OCTAVE):
            bin = np.uint64(octave * BINS_PER_OCTAVE + i)
            if packed[bin] != 0:
                count = np.float64(packed[bin] >> np.uint64(40))
                share = 1.0 / count
                mean = np.float64(np.int64(packed[bin] & np.uint64((1 << 40) - 1))) * share
                levels[0, found] = start - offset + i * width + mean * unit
                levels[1, found] = count
                levels[2, found] = max(0.0, np.float64(np.int64(squares[bin])) * share - mean * mean) * unit * unit
                found += 1
                packed[bin] = 0
                squares[bin] = 0
    packed[-1] = 0
    squares[-1] = 0
    return found


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
    packed = np.zeros(bins + 1, np.uint64)
    squares = np.zeros(bins + 1, np.uint64)
    levels = np.empty((3, bins))
    places = np.empty(CHUNK, np.uint32)
    top = np.int32(bins << PLACE_BITS)
    for b in range(start, stop):
        row = words[b]
        low, _, status = find_extremes(row)
        out[b, :, 0] = status
        if status == GOOD:
            ground = from_key(low, row[0])
            out[b, :, 1] = ground
            for first in range(0, row.shape[0], CHUNK):
                # A slice, since the compiler then sees that no index is negative, and vectorises.
                part = row[first : first + CHUNK]
                compute_bin_places(part, ground, np.float32(offset), top, places)
                add_to_bins(places[: part.shape[0]], packed, squares)
            num_levels = collect_bins(packed, squares, offset, levels)
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
