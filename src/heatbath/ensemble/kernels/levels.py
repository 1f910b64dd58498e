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

import numpy as np

from heatbath.ensemble.kernels.exponent import LOG2E, exp2_64
from heatbath.ensemble.kernels.jit import compiled, inlined, summed
from heatbath.ensemble.kernels.words import GOOD, extremes, from_key, infinity, key, value

BINS_PER_OCTAVE = 512
PLACE_BITS = 23 - 9
"""Bits of a float32's fraction left to tell the place within a bin."""
LEAST, MOST = 1e-25, 1e25
"""Betas that bins can hold: within them every height that matters is a float32 number."""
FARTHEST = 100.0
"""States with beta d beyond this weigh less than 4e-44 and are left out."""
CHUNK = 1024


def bin_layout(least: float, most: float) -> tuple[float, int]:
    """Offset d_0 (a power of two, so that bins do not straddle octaves) and number of bins for betas in [least, most]."""
    offset = 2.0 ** math.ceil(math.log2(2.0 / most))
    octaves = math.ceil(math.log2(1.0 + FARTHEST / least / offset))
    return offset, BINS_PER_OCTAVE * octaves


@inlined
def heights(row, first, count, ground, offset, bits):  # type: ignore[no-untyped-def]
    """Bits of y = E - ground + offset for one chunk."""
    for j in range(count):
        y = np.float32(np.float32(value(row[first + j]) - ground) + offset)
        bits[j] = np.uint32(y.view(np.int32))


@inlined
def scatter(bits, count, base, packed, squares):  # type: ignore[no-untyped-def]
    """Add one chunk to the bins: count (upper 24 bits) and sum of places packed in one integer, and sum of squares."""
    top = np.uint64(packed.shape[0] - 1)
    for j in range(count):
        above = np.uint64(bits[j] - base)
        place = above & np.uint64((1 << PLACE_BITS) - 1)
        bin = min(above >> np.uint64(PLACE_BITS), top)
        packed[bin] += place | np.uint64(1 << 40)
        squares[bin] += place * place


@inlined
def unpack(packed, squares, base, offset, levels):  # type: ignore[no-untyped-def]
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


@inlined
def tally(row, low, high, counts):  # type: ignore[no-untyped-def]
    """Count a row of 16-bit words by key, relative to the lowest."""
    for v in range(row.shape[0]):
        counts[np.uint64(key(row[v]) - low)] += np.uint32(1)


@inlined
def collect(row, low, high, counts, levels):  # type: ignore[no-untyped-def]
    """Height and count of each distinct finite energy; empties the counts."""
    ground = np.float64(from_key(low, row[0]))
    size = min(high, infinity(row[0]) - 1) - low + 1
    found = 0
    for first in range(0, size, 32):
        last = min(first + 32, size)
        any_here = np.uint32(0)
        for i in range(first, last):
            any_here |= counts[i]
        if any_here == 0:
            continue
        for i in range(first, last):
            if counts[i] != 0:
                levels[0, found] = np.float64(from_key(low + i, row[0])) - ground
                levels[1, found] = counts[i]
                levels[2, found] = 0.0
                found += 1
    counts[: high - low + 1] = 0
    return found


@summed
def level_sums(levels, found, beta):  # type: ignore[no-untyped-def]
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


@inlined
def fill(levels, found, betas, out):  # type: ignore[no-untyped-def]
    """The four sums at each beta, columns 2 to 5 of out (K, 6)."""
    for k in range(betas.shape[0]):
        beta = betas[k]
        if math.isinf(beta):
            z, m1, m2, q = levels[1, 0], 0.0, 0.0, levels[1, 0]
        else:
            near = np.searchsorted(levels[0, :found], FARTHEST / beta, side="right") if beta > 0.0 else found
            z, m1, m2, q = level_sums(levels, near, beta)
        out[k, 2], out[k, 3], out[k, 4], out[k, 5] = z, m1, m2, q


@compiled
def binned(start, stop, words, betas, offset, bins, out):  # type: ignore[no-untyped-def]
    """Fill out (B, K, 6) with status, ground and the four sums at shared betas (K,), positive and finite."""
    packed = np.zeros(bins + 1, np.uint64)
    squares = np.zeros(bins + 1, np.uint64)
    levels = np.empty((3, bins))
    bits = np.empty(CHUNK, np.uint32)
    base = np.uint32(np.float32(offset).view(np.int32))
    for b in range(start, stop):
        row = words[b]
        low, _, status = extremes(row)
        out[b, :, 0] = status
        if status == GOOD:
            ground = from_key(low, row[0])
            out[b, :, 1] = ground
            for first in range(0, row.shape[0], CHUNK):
                count = min(CHUNK, row.shape[0] - first)
                heights(row, first, count, ground, np.float32(offset), bits)
                scatter(bits, count, base, packed, squares)
            found = unpack(packed, squares, base, offset, levels)
            fill(levels, found, betas, out[b])


@compiled
def counted(start, stop, words, betas, out):  # type: ignore[no-untyped-def]
    """Fill out (B, K, 6) with status, ground and the four sums at betas (B or 1, K), for words of 16 bits, exactly."""
    counts = np.zeros(65536, np.uint32)
    levels = np.empty((3, min(65536, words.shape[1])))
    for b in range(start, stop):
        row = words[b]
        low, high, status = extremes(row)
        out[b, :, 0] = status
        if status == GOOD:
            out[b, :, 1] = from_key(low, row[0])
            tally(row, low, high, counts)
            found = collect(row, low, high, counts, levels)
            fill(levels, found, betas[b % betas.shape[0]], out[b])
