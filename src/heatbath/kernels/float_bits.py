"""Energies as machine words: decoding each format, and ordering words with integer arithmetic.

A word's type says what it encodes: int32 a float32, int64 a float64, int16 a float16, uint16 a bfloat16 (which NumPy
lacks). A *key* is a signed integer in the order of the energies: magnitude with the sign of the word, so that -0.0 and
0.0 share the key 0, infinities are the outermost numbers, and everything beyond them is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from heatbath.kernels.jit import Function, jit

GOOD, NAN, MINUS_INFINITY, EMPTY = 0, 1, 2, 3
"""Status of a row, as `find_extremes` returns it."""


def value(word: Any) -> Any:
    """Return the energy that a word encodes: float32, or float64 for int64."""
    raise NotImplementedError("compiled only")


def key(word: Any) -> Any:
    """Return the word's place in the order of energies."""
    raise NotImplementedError("compiled only")


def from_key(order: Any, word: Any) -> Any:
    """Return the energy at a key, for words of the type of `word`."""
    raise NotImplementedError("compiled only")


def infinity_key(word: Any) -> Any:
    """Return the key of +inf."""
    raise NotImplementedError("compiled only")


def cast_like(number: Any, word: Any) -> Any:
    """Cast a number to the type of `word`."""
    raise NotImplementedError("compiled only")


def _value_32(word: Any) -> Any:
    return np.int32(word).view(np.float32)


def _value_64(word: Any) -> Any:
    return np.int64(word).view(np.float64)


def _value_bfloat16(word: Any) -> Any:
    return np.int32(np.int32(word) << np.int32(16)).view(np.float32)


def _value_float16(word: Any) -> Any:
    # Moving the fields into place leaves the exponent 112 too low; multiplying corrects subnormals as well.
    bits = np.int32(word)
    size = np.int32((bits & np.int32(0x7FFF)) << np.int32(13)).view(np.float32) * np.float32(2.0**112)
    size = np.float32(np.inf) if (bits & np.int32(0x7C00)) == np.int32(0x7C00) else size
    return -size if bits < 0 else size


def _key_32(word: Any) -> Any:
    return np.int32(word) if word >= 0 else np.int32(np.int32(-2147483648) - np.int32(word))


def _key_64(word: Any) -> Any:
    return np.int64(word) if word >= 0 else np.int64(np.int64(-9223372036854775808) - np.int64(word))


def _key_16(word: Any) -> Any:
    signed = np.int32(np.int16(word))
    return signed if signed >= 0 else np.int32(np.int32(-32768) - signed)


def _register_overload(function: Function) -> Callable[[Function], Function]:
    """Register the compiled implementations of `function`, selected by the type of its arguments."""
    return overload(function, strict=False)  # type: ignore[no-any-return]


_VALUE_DECODERS = {
    types.int32: _value_32,
    types.int64: _value_64,
    types.uint16: _value_bfloat16,
    types.int16: _value_float16,
}
_KEY_ENCODERS = {types.int32: _key_32, types.int64: _key_64, types.uint16: _key_16, types.int16: _key_16}
_INFINITY_KEYS = {types.int32: 0x7F800000, types.int64: 0x7FF0000000000000, types.uint16: 0x7F80, types.int16: 0x7C00}


@_register_overload(value)
def _overload_value(word: Any) -> Any:
    return _VALUE_DECODERS[word]


@_register_overload(key)
def _overload_key(word: Any) -> Any:
    return _KEY_ENCODERS[word]


@_register_overload(from_key)
def _overload_from_key(order: Any, word: Any) -> Any:
    if word == types.int32:
        return lambda order, word: _value_32_jit(_key_32_jit(np.int32(order)))
    if word == types.int64:
        return lambda order, word: _value_64_jit(_key_64_jit(np.int64(order)))
    if word == types.uint16:
        return lambda order, word: _value_bfloat16_jit(np.uint16(_key_16_jit(np.int16(order))))
    return lambda order, word: _value_float16_jit(np.int16(_key_16_jit(np.int16(order))))


@_register_overload(cast_like)
def _overload_cast_like(number: Any, word: Any) -> Any:
    if word == types.uint16:
        return lambda number, word: np.uint16(number)
    return lambda number, word: np.int16(number)


@_register_overload(infinity_key)
def _overload_infinity_key(word: Any) -> Any:
    outermost = _INFINITY_KEYS[word]
    return lambda word: outermost


_value_32_jit, _value_64_jit = jit(_value_32), jit(_value_64)
_value_bfloat16_jit, _value_float16_jit = jit(_value_bfloat16), jit(_value_float16)
_key_32_jit, _key_64_jit, _key_16_jit = jit(_key_32), jit(_key_64), jit(_key_16)


@jit
def find_highest_finite(row: Any) -> Any:
    """Return the highest key below that of +inf, or that of -inf if there is none."""
    outermost = infinity_key(row[0])
    top = -outermost
    for v in range(row.shape[0]):
        order = key(row[v])
        top = max(top, order if order < outermost else -outermost)
    return top


@jit
def find_extremes(row: Any) -> Any:
    """Return the lowest key of a row, the highest finite one, and the status of the row."""
    outermost = infinity_key(row[0])
    low = key(row[0])
    high = low
    for v in range(row.shape[0]):
        order = key(row[v])
        low = min(low, order)
        high = max(high, order)
    # A second pass only where states are absent: the first is what every kernel spends on a row.
    top = find_highest_finite(row) if high >= outermost else high
    if high > outermost or low < -outermost:
        return low, top, NAN
    if low == -outermost:
        return low, top, MINUS_INFINITY
    return low, top, EMPTY if low == outermost else GOOD
