"""The bytes of a vocabulary, read once and sorted, so that tokens with a common prefix are adjacent."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Hashable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput

Ints = npt.NDArray[np.intp]
T = TypeVar("T")


class TokenBytesCache:
    """The bytes of a vocabulary, read once: a `token_bytes` function that also caches what fields build from it.

    Thread-safe.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], size: int) -> None:
        self._token_bytes, self._size = token_bytes, size
        self._lock = threading.RLock()
        self._cache: dict[Hashable, object] = {}

    def __call__(self, token: int) -> bytes:
        pieces = self.get_or_build("pieces", lambda: [bytes(self._token_bytes(each)) for each in range(self._size)])
        return pieces[token] if 0 <= token < self._size else self._token_bytes(token)

    def get_or_build(self, key: Hashable, build: Callable[[], T]) -> T:
        """Return the cached object of a key, built on first use."""
        value = self._cache.get(key)
        if value is None:
            with self._lock:
                value = self._cache.get(key)
                if value is None:
                    value = self._cache[key] = build()
        return value  # type: ignore[return-value]


def build_cached(token_bytes: Callable[[int], bytes], key: Hashable, build: Callable[[], T]) -> T:
    """Return the object that a `TokenBytesCache` holds under a key; build a new one for any other `token_bytes`."""
    return token_bytes.get_or_build(key, build) if isinstance(token_bytes, TokenBytesCache) else build()


class VocabBytes:
    """The bytes `pieces[token]` of every token, and the tokens sorted by them, `sorted_tokens` (V,)."""

    def __init__(
        self, token_bytes: Callable[[int], bytes], size: int, *, fold: Callable[[bytes], bytes] = bytes
    ) -> None:
        self.pieces = [fold(bytes(token_bytes(token))) for token in range(size)]
        tokens = sorted(range(size), key=self.pieces.__getitem__)
        self.sorted_tokens: Ints = np.asarray(tokens, np.intp)
        self.max_piece_length = max(map(len, self.pieces), default=0)
        self._sorted_pieces = [self.pieces[token] for token in tokens]

    def prefix_span(self, start: bytes) -> tuple[int, int]:
        """Return the half-open range in `sorted_tokens` of the tokens that begin with `start`."""
        low = bisect_left(self._sorted_pieces, start)
        if low == len(self._sorted_pieces) or not self._sorted_pieces[low].startswith(start):
            return low, low
        end = _prefix_upper_bound(start)
        return low, len(self._sorted_pieces) if end is None else bisect_left(self._sorted_pieces, end, low)

    def tokens_with_prefix(self, start: bytes) -> Ints:
        """Return the tokens that begin with `start`."""
        low, high = self.prefix_span(start)
        return self.sorted_tokens[low:high]

    def tokens_with_bytes(self, piece: bytes) -> Ints:
        """Return the tokens whose bytes are `piece`."""
        low = bisect_left(self._sorted_pieces, piece)
        high = low
        while high < len(self._sorted_pieces) and self._sorted_pieces[high] == piece:
            high += 1
        return self.sorted_tokens[low:high]


def build_vocab_bytes(
    token_bytes: Callable[[int], bytes], size: int, *, fold: Callable[[bytes], bytes] = bytes
) -> VocabBytes:
    """Return the `VocabBytes` of a vocabulary, folded by `fold`; cached if `token_bytes` is a `TokenBytesCache`."""
    return build_cached(token_bytes, ("vocab_bytes", fold), lambda: VocabBytes(token_bytes, size, fold=fold))


def encode_phrase(phrase: str | bytes, name: str) -> bytes:
    """Return a phrase of the field `name` as bytes. Raises `BadInput` for an empty one."""
    if not isinstance(phrase, str | bytes) or not phrase:
        raise BadInput(f"field {name!r}: a phrase must be non-empty text or bytes, got {phrase!r}.")
    return phrase.encode() if isinstance(phrase, str) else phrase


def _prefix_upper_bound(start: bytes) -> bytes | None:
    """Return the first byte string after all those that begin with `start`; None if there is none."""
    stem = start.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
