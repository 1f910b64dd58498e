"""Bins of energies: 512 to the octave of the height above the ground, each with exact sums of its states.

A bin is a pair of integers: the number of its states (upper 24 bits) with the sum of their places within the bin (lower
40 bits), and the sum of the squares of these places.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from heatbath.kernels.float_bits import value
from heatbath.kernels.jit import jit

BINS_PER_OCTAVE = 512
PLACE_BITS = 23 - 9
"""Bits of a float32's fraction that give the place within a bin."""
MIN_BETA, MAX_BETA = 1e-25, 1e25
"""Range of betas for bins: within it every height that matters is a float32 number."""
MAX_EXPONENT = 45.0
"""States with beta d beyond this weigh less than 3e-20 of the ground state and are left out."""
SPARE_BINS = 16
"""Bins at the end for states that are too high to count: in a single one each addition would wait for the last."""
CHUNK = 1024


def bin_layout(min_beta: float, max_beta: float) -> tuple[float, int]:
    """Return the offset d_0 and the number of bins for betas in [min_beta, max_beta].

    The offset is a power of two, so that no bin straddles two octaves.
    """
    offset = 2.0 ** math.ceil(math.log2(2.0 / max_beta))
    octaves = math.ceil(math.log2(1.0 + MAX_EXPONENT / min_beta / offset))
    return offset, BINS_PER_OCTAVE * octaves


@jit
def compute_bin_places(part: Any, ground: Any, offset: Any, top: Any, places: Any) -> Any:
    """Fill `places` with the bits of y = E - ground + offset above those of the offset, at most those of a spare bin.

    `top` is the first place of the spare bins.
    """
    base = np.float32(offset).view(np.int32)
    for j in range(part.shape[0]):
        y = np.float32(np.float32(value(part[j]) - ground) + offset)
        spare = np.int32(top + ((np.int32(j) & np.int32(SPARE_BINS - 1)) << np.int32(PLACE_BITS)))
        places[j] = np.uint32(min(np.int32(y.view(np.int32) - base), spare))


@intrinsic  # type: ignore[untyped-decorator]
def add_four_places(typing_context: Any, places: Any, first: Any, bins: Any) -> Any:
    """Add four places (uint32), from index `first` on, to the bins (N, 2) of uint64: one load and one store for each.

    The pair of a bin is one vector; numba has no other way to say so. Scalar additions are limited by their stores and
    take 1.7 times as long.
    """
    signature = types.void(places, first, bins)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        int32, int64 = ir.IntType(32), ir.IntType(64)
        four, wide, pair = ir.VectorType(int32, 4), ir.VectorType(int64, 4), ir.VectorType(int64, 2)

        def pointer(number: int, kind: Any) -> Any:
            array = context.make_array(signature.args[number])(context, builder, arguments[number])
            return builder.bitcast(array.data, kind.as_pointer())

        start = builder.gep(pointer(0, int32), [arguments[1]])
        all_places = builder.load(builder.bitcast(start, four.as_pointer()), align=4)
        place = builder.and_(all_places, ir.Constant(four, [(1 << PLACE_BITS) - 1] * 4))
        counted = builder.or_(builder.zext(place, wide), ir.Constant(wide, [1 << 40] * 4))
        squares = builder.zext(builder.mul(place, place), wide)
        for i in range(4):
            bits = builder.load(builder.gep(start, [ir.Constant(int64, i)]))
            bin = builder.zext(builder.lshr(bits, ir.Constant(int32, PLACE_BITS)), int64)
            addend = builder.shuffle_vector(counted, squares, ir.Constant(ir.VectorType(int32, 2), [i, 4 + i]))
            target = builder.gep(pointer(2, pair), [bin])
            builder.store(builder.add(builder.load(target, align=8), addend), target, align=8)
        return context.get_dummy_value()

    return signature, generate


@jit
def add_to_bins(row: Any, ground: Any, offset: Any, places: Any, bins: Any) -> Any:
    """Add the states of a row to the bins; `places` is a buffer of CHUNK places."""
    top = np.int32((bins.shape[0] - SPARE_BINS) << PLACE_BITS)
    for first in range(0, row.shape[0], CHUNK):
        # A slice, since the compiler then sees that no index is negative, and vectorises.
        part = row[first : first + CHUNK]
        compute_bin_places(part, ground, offset, top, places)
        size = part.shape[0]
        while size % 4 != 0:
            places[size] = top
            size += 1
        for j in range(0, size, 4):
            add_four_places(places, np.uint64(j), bins)


@jit
def collect_bins(bins: Any, offset: Any, levels: Any) -> Any:
    """Fill `levels` with mean height above the ground, count and variance of each occupied bin; empty the bins.

    The spare bins hold the states that are too high to count. Returns the number of levels.
    """
    found = 0
    for octave in range((bins.shape[0] - SPARE_BINS) // BINS_PER_OCTAVE):
        start = offset * 2.0**octave
        width = start / BINS_PER_OCTAVE
        unit = width / (1 << PLACE_BITS)
        for i in range(BINS_PER_OCTAVE):
            bin = np.uint64(octave * BINS_PER_OCTAVE + i)
            packed = bins[bin, 0]
            if packed != 0:
                count = np.float64(packed >> np.uint64(40))
                share = 1.0 / count
                mean = np.float64(np.int64(packed & np.uint64((1 << 40) - 1))) * share
                levels[0, found] = start - offset + i * width + mean * unit
                levels[1, found] = count
                levels[2, found] = max(0.0, np.float64(np.int64(bins[bin, 1])) * share - mean * mean) * unit * unit
                found += 1
                bins[bin, 0] = 0
                bins[bin, 1] = 0
    for spare in range(bins.shape[0] - SPARE_BINS, bins.shape[0]):
        bins[spare, 0] = 0
        bins[spare, 1] = 0
    return found
