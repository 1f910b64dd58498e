r"""Quantiles of the weight of a row, the point where a cumulative weight crosses a bound, without sorting the row.

States are ordered by a distance x: the height above the ground, or the distance from the mean energy. Weights
$w=e^{-\beta d}$ are summed in bins of equal width in x; only the bin in which the bound is crossed is then sorted. A
state with $\beta d$ beyond 45 weighs less than 3e-20 of a ground state and shares the last bin.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heatbath.decode.windows.masking import is_float32_safe
from heatbath.decode.windows.rounding import (
    ENERGY_ROUNDING_32,
    ENERGY_ROUNDING_64,
    LARGEST_ROUNDING,
    WEIGHT_ROUNDING_32,
    WEIGHT_ROUNDING_64,
)
from heatbath.decode.windows.sorting import sort
from heatbath.kernels.block_sums import weight_32, weight_64
from heatbath.kernels.exp2 import LOG2E
from heatbath.kernels.float_bits import value
from heatbath.kernels.jit import jit, jit_reassoc

MASS, TYPICAL, ENTROPY = 0, 1, 2
"""Bounds: a share of the weight by energy; the same by distance from U; a share of the entropy by energy."""
NUM_BINS, MAX_EXPONENT = 2048, 45.0
CHUNK_SIZE, SCAN_CHUNK_SIZE = 1024, 128


@jit_reassoc
def compute_weights_32(row: Any, ground: Any, rate: Any, heights: Any, weights: Any) -> Any:
    """Fill heights and weights of a row in float32, and return z and m, the sums of w and w d, in float64."""
    z, m = 0.0, 0.0
    for v in range(row.shape[0]):
        w = weight_32(row[v], ground, rate)
        d = np.float32(value(row[v]) - ground)
        heights[v], weights[v] = d, w
        z += w
        m += w * d if w > 0.0 else 0.0
    return z, m


@jit_reassoc
def compute_weights_64(row: Any, ground: Any, beta: Any, heights: Any, weights: Any) -> Any:
    """Fill heights and weights of a row in float64, and return z and m, the sums of w and w d."""
    z, m = 0.0, 0.0
    for v in range(row.shape[0]):
        w = weight_64(row[v], ground, beta)
        d = np.float64(value(row[v])) - ground
        heights[v], weights[v] = d, w
        z += w
        m += w * d if w > 0.0 else 0.0
    return z, m


@jit
def convert_to_distances(heights: Any, centre: Any) -> Any:
    """Replace heights by distances from the centre, in place."""
    for v in range(heights.shape[0]):
        heights[v] = abs(heights[v] - centre)


@jit
def assign_bins(distances: Any, rate: Any, bin_indices: Any) -> Any:
    """Fill the bins of one chunk of distances; the last bin takes all distances that are too far."""
    far = distances.dtype.type(NUM_BINS - 1)
    for j in range(distances.shape[0]):
        bin_indices[j] = np.uint32(np.int32(min(distances[j] * rate, far)))


@jit
def add_weights(weights: Any, bin_indices: Any, bins: Any) -> Any:
    """Add one chunk of weights to their bins (N,)."""
    for j in range(weights.shape[0]):
        bins[np.uint64(bin_indices[j])] += weights[j]


@jit
def add_moments(distances: Any, weights: Any, top: Any, bin_indices: Any, bins: Any) -> Any:
    """Add weights times distances to their bins (N,); distances are capped so that an absent state adds 0, not NaN."""
    for j in range(weights.shape[0]):
        bins[np.uint64(bin_indices[j])] += np.float64(weights[j]) * min(distances[j], top)


@jit
def fill_bins(distances: Any, weights: Any, rate: Any, moments: Any, bins: Any) -> Any:
    """Fill bins (2, N) with weights and, if `moments`, with weights times distances."""
    bin_indices = np.empty(CHUNK_SIZE, np.uint32)
    top = distances.dtype.type(NUM_BINS / rate)
    bins[:] = 0.0
    for first in range(0, distances.shape[0], CHUNK_SIZE):
        chunk, chunk_weights = distances[first : first + CHUNK_SIZE], weights[first : first + CHUNK_SIZE]
        assign_bins(chunk, rate, bin_indices)
        add_weights(chunk_weights, bin_indices, bins[0])
        if moments:
            add_moments(chunk, chunk_weights, top, bin_indices, bins[1])


@jit
def count_in_bin(distances: Any, rate: Any, bin: Any) -> Any:
    """Count the states of one chunk that are in a bin."""
    far = distances.dtype.type(NUM_BINS - 1)
    n = np.int32(0)
    for j in range(distances.shape[0]):
        n += np.int32(1) if np.int32(min(distances[j] * rate, far)) == bin else np.int32(0)
    return n


@jit
def collect_bin_members(distances: Any, rate: Any, bin: Any, indices: Any) -> Any:
    """Fill `indices` with the states in a bin and return their number."""
    bin_indices = np.empty(SCAN_CHUNK_SIZE, np.uint32)
    n = 0
    for first in range(0, distances.shape[0], SCAN_CHUNK_SIZE):
        chunk = distances[first : first + SCAN_CHUNK_SIZE]
        if count_in_bin(chunk, rate, np.int32(bin)) > 0:
            assign_bins(chunk, rate, bin_indices)
            for j in range(chunk.shape[0]):
                if bin_indices[j] == np.uint32(bin):
                    indices[n] = first + j
                    n += 1
    return n


@jit
def is_bound_reached(rule: Any, w: Any, m: Any, beta: Any, bound: Any) -> Any:
    """Test whether sums over the states so far reach the bound; a bound on entropy must be exceeded."""
    return math.log(w) + beta * m / w > bound if rule == ENTROPY else w >= bound


@jit
def find_crossing_bin(rule: Any, bins: Any, beta: Any, bound: Any) -> Any:
    """Return the first bin at whose end the bound is crossed (or the number of bins), and the sums before it."""
    w, m = 0.0, 0.0
    for i in range(NUM_BINS):
        with_w, with_m = w + bins[0, i], m + bins[1, i]
        if bins[0, i] > 0.0 and is_bound_reached(rule, with_w, with_m, beta, bound):
            return i, w, m
        w, m = with_w, with_m
    return NUM_BINS, w, m


@jit
def find_crossing(rule: Any, x: Any, w: Any, sums: Any, frame: Any, bound: Any) -> Any:
    """Return the last distance x to keep, from the exact distances x (n,) of one bin, and the weight that is kept.

    `sums` are the sums over the bins before it. All ties with the last state are kept.
    """
    ground, _, beta, _ = frame
    sort(x, w)
    total, moment = sums
    last = 0
    for i in range(x.shape[0]):
        total += w[i]
        moment += w[i] * (x[i] - ground)
        last = i
        if is_bound_reached(rule, total, moment, beta, bound):
            break
    edge = x[last]
    if rule == ENTROPY and (last == 0 or x[last - 1] < edge):
        edge = x[last - 1] if last > 0 else np.nextafter(edge, -np.inf)
    kept = sums[0]
    for i in range(x.shape[0]):
        kept += w[i] if x[i] <= edge else 0.0
    return edge, kept


@jit
def find_edge(rule: Any, row: Any, frame: Any, work: Any, bound: Any) -> Any:
    """Return the last energy to keep (a distance from the centre for TYPICAL) and the weight that is kept.

    `frame` is ground, centre, beta and the largest distance that is binned, `work` the buffers.
    """
    ground, centre, beta, top = frame
    distances, weights, bins, indices = work
    # Within these limits no distance times the rate is NaN, however small or large the range of energies.
    rate = distances.dtype.type(min(max(NUM_BINS / top, 1e-30), 1e30) if top > 0.0 else 1.0)
    fill_bins(distances, weights, rate, rule == ENTROPY, bins)
    bin, w, m = find_crossing_bin(rule, bins, beta, bound)
    if bin == NUM_BINS:
        return np.inf, w
    n = collect_bin_members(distances, rate, bin, indices)
    x, bin_weights = np.empty(n), np.empty(n)
    for i in range(n):
        energy = np.float64(value(row[indices[i]]))
        x[i] = abs(energy - ground - centre) if rule == TYPICAL else energy
        bin_weights[i] = weights[indices[i]]
    return find_crossing(rule, x, bin_weights, (w, m), frame, bound)


@jit
def compute_bound(rule: Any, share: Any, z: Any, frame: Any, double: Any) -> Any:
    """Return the bound on a cumulative weight or entropy, with the tolerance of `rounding.share_tolerance`."""
    ground, centre, beta, _ = frame
    error = WEIGHT_ROUNDING_64 if double else WEIGHT_ROUNDING_32
    error += beta * (abs(ground) + centre) * (ENERGY_ROUNDING_64 if double else ENERGY_ROUNDING_32)
    error = min(error, LARGEST_ROUNDING)
    if rule == ENTROPY:
        return (share + error * min(share, 1.0 - share)) * (math.log(z) + beta * centre)
    return (share - error * min(share, 1.0 - share)) * z


@jit
def compute_band(rule: Any, edge: Any, ground: Any, centre: Any, double: Any) -> Any:
    """Return the lowest and highest energy to keep, from the last energy or distance to keep.

    The band of TYPICAL is wider by the tolerance of `rounding.distance_tolerance`.
    """
    if rule != TYPICAL:
        return -np.inf, edge
    tolerance = (WEIGHT_ROUNDING_64 if double else WEIGHT_ROUNDING_32) * centre
    tolerance += (ENERGY_ROUNDING_64 if double else ENERGY_ROUNDING_32) * (abs(ground) + centre + edge)
    middle = ground + centre
    return middle - edge - tolerance, middle + edge + tolerance


@jit
def compute_band_and_mass(
    rule: Any, row: Any, edges: Any, beta: Any, share: Any, z: Any, m: Any, work: Any, double: Any
) -> Any:
    """Return the band and the share of the weight that is kept, from the sums of a row and its filled buffers."""
    ground, high = edges
    centre = m / z
    bound = compute_bound(rule, share, z, (ground, centre, beta, high), double)
    top = high - ground
    top = min(top, MAX_EXPONENT / beta) if beta > 0.0 else top
    if rule == TYPICAL:
        convert_to_distances(work[0], work[0].dtype.type(centre))
        top = max(centre, top - centre)
    edge, kept = find_edge(rule, row, (ground, centre, beta, top), work, bound)
    low, high = compute_band(rule, edge, ground, centre, double)
    return low, high, min(kept / z, 1.0)


@jit
def allocate_buffers(states: Any, kind: Any) -> Any:
    """Return buffers for distances, weights, bins and indices."""
    return np.empty(states, kind), np.empty(states, kind), np.empty((2, NUM_BINS)), np.empty(states, np.int32)


@jit
def fill_share_bands(
    start: Any, stop: Any, words: Any, edges: Any, betas: Any, rule: Any, share: Any, double: Any, out: Any
) -> Any:
    """Fill out (B, 3) with the lowest and highest energy to keep and their share of the weight; edges (B, 2)."""
    small, wide = allocate_buffers(words.shape[1], np.float32), allocate_buffers(words.shape[1], np.float64)
    for b in range(start, stop):
        row, beta = words[b], betas[b]
        ground, high = edges[b, 0], edges[b, 1]
        if math.isinf(beta):
            out[b, 0], out[b, 1], out[b, 2] = ground, ground, 1.0
        elif double or not is_float32_safe(ground, high, beta):
            z, m = compute_weights_64(row, ground, beta, wide[0], wide[1])
            # Number by number: numba compiles the error of shapes that differ for an assignment to a row.
            low, top, mass = compute_band_and_mass(rule, row, (ground, high), beta, share, z, m, wide, double)
            out[b, 0], out[b, 1], out[b, 2] = low, top, mass
        else:
            z, m = compute_weights_32(row, np.float32(ground), np.float32(beta * LOG2E), small[0], small[1])
            low, top, mass = compute_band_and_mass(rule, row, (ground, high), beta, share, z, m, small, double)
            out[b, 0], out[b, 1], out[b, 2] = low, top, mass
