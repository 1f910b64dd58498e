"""Compiled kernels between the matrix products of a Llama-like decoder in bfloat16.

NumPy has no bfloat16: arrays hold words, one uint16 per number, or pairs of neighbours in an int32 (the first in the
low half). Sums are in float32. Each kernel works on rows `start` to `stop`, so that threads can share them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from heatbath.kernels.exp2 import LOG2E, exp2_32
from heatbath.kernels.float_bits import value
from heatbath.kernels.jit import jit, jit_reassoc

FOLD = 3
"""Number of queries that read a key together: as many as fit the registers."""
_MAX_EXPONENT = np.float32(126.0)
_LOG2E = np.float32(LOG2E)
_ONE, _ZERO = np.float32(1.0), np.float32(0.0)
_HALF_BITS, _HIGH_MASK = np.int32(16), np.int32(-65536)


@jit
def unpack_first(pair: Any) -> Any:
    """Return the first number of a pair."""
    return np.int32(pair << _HALF_BITS).view(np.float32)


@jit
def unpack_second(pair: Any) -> Any:
    """Return the second number of a pair."""
    return np.int32(pair & _HIGH_MASK).view(np.float32)


@jit
def to_bfloat16(number: Any) -> Any:
    """Return the nearest bfloat16, ties to even."""
    bits = np.float32(number).view(np.int32)
    rounded = bits + np.int32(0x7FFF) + ((bits >> _HALF_BITS) & np.int32(1))
    return np.uint16((rounded if bits & np.int32(0x7FFFFFFF) <= np.int32(0x7F800000) else bits) >> _HALF_BITS)


@jit_reassoc
def rms_norm(start: Any, stop: Any, stream: Any, weight: Any, eps: Any, out: Any) -> None:
    """Write the root-mean-square norm of the residual stream (M, D) float32, times `weight` (D,), as words (M, D)."""
    width = stream.shape[1]
    for r in range(start, stop):
        row, to = stream[r], out[r]
        total = _ZERO
        for d in range(width):
            total += row[d] * row[d]
        scale = _ONE / np.float32(math.sqrt(total / np.float32(width) + eps))
        for d in range(width):
            to[d] = to_bfloat16(weight[d] * (row[d] * scale))


@jit_reassoc
def add_rms_norm(start: Any, stop: Any, stream: Any, change: Any, weight: Any, eps: Any, out: Any) -> None:
    """Add `change` (M, D) words to the stream, then write its norm."""
    for r in range(start, stop):
        row, delta = stream[r], change[r]
        for d in range(row.shape[0]):
            row[d] += value(delta[d])
    rms_norm(start, stop, stream, weight, eps, out)


@jit_reassoc
def silu_multiply(start: Any, stop: Any, gate_up: Any, out: Any) -> None:
    """Write silu(a) b of words (M, 2 I), a before b, as words (M, I)."""
    width = out.shape[1]
    for r in range(start, stop):
        row, to = gate_up[r], out[r]
        for d in range(width):
            a = value(row[d])
            size = min(abs(a) * _LOG2E, _MAX_EXPONENT)
            e = exp2_32(size)
            share = (_ONE if a >= _ZERO else e) / (_ONE + e)
            to[d] = to_bfloat16(a * share * value(row[width + d]))


@jit_reassoc
def rotate_head(head: Any, cos: Any, sin: Any, scale: Any, out: Any) -> None:
    """Rotate one head, words (D,), by its position's angles (D,), as float32 (D,) times `scale`."""
    half = head.shape[0] // 2
    for d in range(half):
        a, b = value(head[d]), value(head[half + d])
        out[d] = scale * (a * cos[d] - b * sin[d])
        out[half + d] = scale * (b * cos[half + d] + a * sin[half + d])


@jit_reassoc
def rotate_and_store(start: Any, stop: Any, qkv: Any, angles: Any, slot_columns: Any, kv_cache: Any, out: Any) -> None:
    """Rotate queries and keys of new positions; store keys and values, and write queries to `out` (M, H, D) as words.

    `qkv` (M, (H + 2 K) D) words: queries, keys, values of each position; `angles`: their cosines and sines (M, D);
    `slot_columns` (M, 2): their slot and column; `kv_cache`: keys and values (S, K, C, D) words.
    """
    cos, sin = angles
    keys, values = kv_cache
    heads, width = out.shape[1], out.shape[2]
    groups = keys.shape[1]
    rotated = np.empty(width, np.float32)
    for r in range(start, stop):
        row, slot, column = qkv[r], slot_columns[r, 0], slot_columns[r, 1]
        for h in range(heads + groups):
            rotate_head(row[h * width : (h + 1) * width], cos[r], sin[r], _ONE, rotated)
            to = out[r, h] if h < heads else keys[slot, h - heads, column]
            for d in range(width):
                to[d] = to_bfloat16(rotated[d])
        for h in range(groups):
            begin = (heads + groups + h) * width
            # Element by element: numba compiles the error of shapes that differ for an assignment of arrays.
            for d in range(width):
                values[slot, h, column, d] = row[begin + d]


@jit_reassoc
def _compute_scores(query: Any, keys: Any, out: Any) -> None:
    """Write the maximum minus each product of three queries (3, 2, D/2) with keys (n, D/2) of pairs, (3, n)."""
    q0, q1, q2 = query[0], query[1], query[2]
    o0, o1, o2 = out[0], out[1], out[2]
    top0 = top1 = top2 = np.float32(-3e38)
    for j in range(keys.shape[0]):
        key = keys[j]
        s0 = s1 = s2 = _ZERO
        for d in range(key.shape[0]):
            a, b = unpack_first(key[d]), unpack_second(key[d])
            s0 += q0[0, d] * a + q0[1, d] * b
            s1 += q1[0, d] * a + q1[1, d] * b
            s2 += q2[0, d] * a + q2[1, d] * b
        o0[j], o1[j], o2[j] = s0, s1, s2
        top0 = s0 if s0 > top0 else top0
        top1 = s1 if s1 > top1 else top1
        top2 = s2 if s2 > top2 else top2
    for j in range(keys.shape[0]):
        o0[j] = top0 - o0[j]
        o1[j] = top1 - o1[j]
        o2[j] = top2 - o2[j]


@jit_reassoc
def _softmax_in_place(row: Any) -> None:
    """Replace each x by 2^-x divided by their sum."""
    total = _ZERO
    for j in range(row.shape[0]):
        w = exp2_32(row[j] if row[j] < _MAX_EXPONENT else _MAX_EXPONENT)
        row[j] = w
        total += w
    share = _ONE / total
    for j in range(row.shape[0]):
        row[j] *= share


@jit_reassoc
def _mix_values(weights: Any, values: Any, out: Any) -> None:
    """Write the sums of values (n, D/2) of pairs with three rows of weights (3, n), as (3, 2, D/2)."""
    a0, b0, a1, b1, a2, b2 = out[0, 0], out[0, 1], out[1, 0], out[1, 1], out[2, 0], out[2, 1]
    w0, w1, w2 = weights[0], weights[1], weights[2]
    out[:] = _ZERO
    count = values.shape[0]
    for half in range(count // 2):
        j = 2 * half
        v, u = values[j], values[j + 1]
        x0, x1, x2, y0, y1, y2 = w0[j], w1[j], w2[j], w0[j + 1], w1[j + 1], w2[j + 1]
        for d in range(v.shape[0]):
            a, b, c, e = unpack_first(v[d]), unpack_second(v[d]), unpack_first(u[d]), unpack_second(u[d])
            a0[d] += x0 * a + y0 * c
            b0[d] += x0 * b + y0 * e
            a1[d] += x1 * a + y1 * c
            b1[d] += x1 * b + y1 * e
            a2[d] += x2 * a + y2 * c
            b2[d] += x2 * b + y2 * e
    if count % 2:
        v, x0, x1, x2 = values[count - 1], w0[count - 1], w1[count - 1], w2[count - 1]
        for d in range(v.shape[0]):
            a, b = unpack_first(v[d]), unpack_second(v[d])
            a0[d] += x0 * a
            b0[d] += x0 * b
            a1[d] += x1 * a
            b1[d] += x1 * b
            a2[d] += x2 * a
            b2[d] += x2 * b


@jit_reassoc
def attend(start: Any, stop: Any, query: Any, kv_cache: Any, ends: Any, scale_and_window: Any, out: Any) -> None:
    """Write the attention of one position per row to `out` (M, H, D), words.

    `query` (M, H, D): words; `kv_cache`: keys and values (S, K, C, D/2), pairs; `ends` (M, 2): slot and number of keys;
    `scale_and_window`: scale of the products in bits, and number of the last keys that are visible.
    """
    keys, values = kv_cache
    scale, window = scale_and_window
    heads, width = query.shape[1], query.shape[2]
    fold = heads // keys.shape[1]
    folded = (fold + FOLD - 1) // FOLD * FOLD
    scaled = np.zeros((folded, 2, width // 2), np.float32)
    weights = np.empty((folded, keys.shape[2]), np.float32)
    mixed = np.empty((FOLD, 2, width // 2), np.float32)
    for r in range(start, stop):
        slot, high = ends[r, 0], ends[r, 1]
        low = max(0, high - window)
        for h in range(keys.shape[1]):
            for g in range(fold):
                row = query[r, h * fold + g]
                for d in range(width // 2):
                    scaled[g, 0, d] = scale * value(row[2 * d])
                    scaled[g, 1, d] = scale * value(row[2 * d + 1])
            for g in range(0, folded, FOLD):
                part = weights[g : g + FOLD, : high - low]
                _compute_scores(scaled[g : g + FOLD], keys[slot, h, low:high], part)
                for i in range(FOLD):
                    _softmax_in_place(part[i])
                _mix_values(part, values[slot, h, low:high], mixed)
                for i in range(g, min(g + FOLD, fold)):
                    to = out[r, h * fold + i]
                    for d in range(width // 2):
                        to[2 * d], to[2 * d + 1] = to_bfloat16(mixed[i - g, 0, d]), to_bfloat16(mixed[i - g, 1, d])
