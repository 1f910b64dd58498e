r"""Many temperatures from one density of states.

Energies of 16 bits take few values: counting them loses nothing. Wider ones are counted in bins of the float32 number
$y=E-E_0+d_0$, 512 to the octave, so that a bin's width grows with its height above the ground, as the precision it
needs falls. Each bin keeps count, sum and sum of squares of the place within the bin, as integers, hence exactly.
Within a bin of mean $\mu$ and variance $v$ the Boltzmann factor is expanded to second order,
$\sum e^{-\beta E}\simeq n e^{-\beta\mu}(1+\beta^2 v/2)$, which leaves at most $0.017(\beta w)^3$ of the bin's weight,
$\beta w\le(\beta d+4)/512$ for its width $w$.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heatbath.ensemble.kernels.exponent import LOG2E, exp2_64
from heatbath.ensemble.kernels.jit import compile_exact, compile_reordered
from heatbath.ensemble.kernels.words import GOOD, as_word, find_extremes, from_key, infinity_key, value

BINS_PER_OCTAVE = 512
PLACE_BITS = 23 - 9
"""Bits of a float32's fraction left to tell the place within a bin."""
MIN_BETA, MAX_BETA = 1e-25, 1e25
"""Betas that bins can hold: within them every height that matters is a float32 number."""
MAX_EXPONENT = 45.0
"""States with beta d beyond this weigh less than 3e-20 of the ground state and are left out."""
CHUNK = 1024
NEGATIVE_OFFSET, RUN_LENGTH = 1 << 15, 128
"""Where the words of negative energies of 16 bits begin, and how many counts are looked at together."""


def bin_layout(min_beta: float, max_beta: float) -> tuple[float, int]:
    """Offset d_0 and number of bins for betas in [least, most]; a power of two, lest bins straddle octaves."""
    offset = 2.0 ** math.ceil(math.log2(2.0 / max_beta))
    octaves = math.ceil(math.log2(1.0 + MAX_EXPONENT / min_beta / offset))
    return offset, BINS_PER_OCTAVE * octaves


@compile_exact
def compute_heights(
    row: Any, first: Any, count: Any, ground: Any, offset: Any, base: Any, top: Any, places: Any
) -> Any:
    """Bits of y = E - ground + offset above those of the offset, for one chunk; no more than `top`."""
    for j in range(count):
        y = np.float32(np.float32(value(row[first + j]) - ground) + offset)
        places[j] = np.uint32(min(np.int32(y.view(np.int32) - base), top))


@compile_exact
def scatter_to_bins(places: Any, count: Any, packed: Any, squares: Any) -> Any:
    """Add one chunk to the bins: count (upper 24 bits) and sum of places packed in one integer, and sum of squares."""
    for j in range(count):
        above = np.uint64(places[j])
        place = above & np.uint64((1 << PLACE_BITS) - 1)
        bin = above >> np.uint64(PLACE_BITS)
        packed[bin] += place | np.uint64(1 << 40)
        squares[bin] += place * place


@compile_exact
def unpack_bins(packed: Any, squares: Any, base: Any, offset: Any, levels: Any) -> Any:
    """Mean height above the ground, count and variance of each bin that holds something; empties the bins.

    The last bin collects what is too far away to count.
    """
    found = 0
    top = packed.shape[0] - 1
    for bin in range(top):
        if packed[bin] != 0:
            count = np.float64(packed[bin] >> np.uint64(40))
            mean = np.float64(packed[bin] & np.uint64((1 << 40) - 1)) / count
            edge = np.int32(np.int64(base) + (bin << PLACE_BITS))
            low = np.float64(edge.view(np.float32))
            unit = np.float64(np.int32(edge + 1).view(np.float32)) - low
            levels[0, found] = low - offset + mean * unit
            levels[1, found] = count
            levels[2, found] = max(0.0, np.float64(squares[bin]) / count - mean * mean) * unit * unit
            found += 1
    packed[:] = 0
    squares[:] = 0
    return found


@compile_exact
def count_words(row: Any, counts: Any) -> Any:
    """Count a row of 16-bit words; -0.0 counts as 0.0."""
    for v in range(row.shape[0]):
        counts[np.uint64(np.uint16(row[v]))] += np.uint32(1)
    counts[0] += counts[NEGATIVE_OFFSET]
    counts[NEGATIVE_OFFSET] = 0


@compile_exact
def is_occupied(counts: Any, first: Any) -> Any:
    """Whether a run of RUN counts holds anything."""
    either = np.uint32(0)
    for i in range(RUN_LENGTH):
        either |= counts[np.uint64(first + i)]
    return either != 0


@compile_exact
def collect_levels(row: Any, ground: Any, counts: Any, levels: Any) -> Any:
    """Height and count of each distinct finite energy, lowest first; empties the counts.

    Words of negative energies are their magnitudes plus a sign bit, so that these are read backwards.
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
                    levels[0, found] = np.float64(value(as_word(word, row[0]))) - ground
                    levels[1, found] = counts[word]
                    levels[2, found] = 0.0
                    found += 1
                    counts[word] = 0
    return found


@compile_reordered
def level_sums(levels: Any, found: Any, beta: Any) -> Any:
    """The four sums over levels sorted by height, at a finite beta."""
    z, m1, m2, q = 0.0, 0.0, 0.0, 0.0
    for i in range(found):
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


@compile_exact
def fill_sums(levels: Any, found: Any, betas: Any, max_exponent: Any, out: Any) -> Any:
    """The four sums at each beta, columns 2 to 5 of out (K, 6), over levels with beta d up to `farthest`."""
    for k in range(betas.shape[0]):
        beta = betas[k]
        if math.isinf(beta):
            z, m1, m2, q = levels[1, 0], 0.0, 0.0, levels[1, 0]
        else:
            near = np.searchsorted(levels[0, :found], max_exponent / beta, side="right") if beta > 0.0 else found
            z, m1, m2, q = level_sums(levels, near, beta)
        out[k, 2], out[k, 3], out[k, 4], out[k, 5] = z, m1, m2, q


@compile_exact
def sum_by_bins(start: Any, stop: Any, words: Any, betas: Any, offset: Any, bins: Any, out: Any) -> Any:
    """Fill out (B, K, 6) with status, ground and the four sums at shared betas (K,), positive and finite."""
    packed = np.zeros(bins + 1, np.uint64)
    squares = np.zeros(bins + 1, np.uint64)
    levels = np.empty((3, bins))
    places = np.empty(CHUNK, np.uint32)
    base = np.float32(offset).view(np.int32)
    top = np.int32(bins << PLACE_BITS)
    for b in range(start, stop):
        row = words[b]
        low, _, status = find_extremes(row)
        out[b, :, 0] = status
        if status == GOOD:
            ground = from_key(low, row[0])
            out[b, :, 1] = ground
            for first in range(0, row.shape[0], CHUNK):
                count = min(CHUNK, row.shape[0] - first)
                compute_heights(row, first, count, ground, np.float32(offset), base, top, places)
                scatter_to_bins(places, count, packed, squares)
            found = unpack_bins(packed, squares, base, offset, levels)
            fill_sums(levels, found, betas, MAX_EXPONENT, out[b])


@compile_exact
def sum_by_counts(start: Any, stop: Any, words: Any, betas: Any, max_exponent: Any, out: Any) -> Any:
    """Fill out (B, K, 6) with status, ground and the four sums at betas (B or 1, K), for words of 16 bits.

    Exact but for the levels with beta d beyond `farthest`.
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
            found = collect_levels(row, np.float64(from_key(low, row[0])), counts, levels)
            fill_sums(levels, found, betas[b % betas.shape[0]], max_exponent, out[b])
