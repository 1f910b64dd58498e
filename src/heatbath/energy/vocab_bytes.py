"""The bytes of a vocabulary: read once, and in order, so that tokens which begin alike lie side by side."""

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
    """The bytes of a vocabulary, read once; stands for `token_bytes`, and keeps what fields make of them.

    Several threads may use it.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], size: int) -> None:
        self._token_bytes, self._size = token_bytes, size
        self._lock = threading.RLock()
        self._cache: dict[Hashable, object] = {}

    def __call__(self, token: int) -> bytes:
        pieces = self.get_or_build("pieces", lambda: [bytes(self._token_bytes(each)) for each in range(self._size)])
        return pieces[token] if 0 <= token < self._size else self._token_bytes(token)

    def get_or_build(self, key: Hashable, build: Callable[[], T]) -> T:
        """What is kept under a name, made the first time it is asked for."""
        found = self._cache.get(key)
        if found is None:
            with self._lock:
                found = self._cache.get(key)
                if found is None:
                    found = self._cache[key] = build()
        return found  # type: ignore[return-value]


def build_cached(token_bytes: Callable[[int], bytes], key: Hashable, build: Callable[[], T]) -> T:
    """What `Pieces` keep under a name; made anew for a vocabulary that keeps nothing."""
    return token_bytes.get_or_build(key, build) if isinstance(token_bytes, TokenBytesCache) else build()


class VocabBytes:
    """How every token is spelled: `pieces[token]` are its bytes, `order` (V,) its tokens sorted by them."""

    def __init__(
        self, token_bytes: Callable[[int], bytes], size: int, *, fold: Callable[[bytes], bytes] = bytes
    ) -> None:
        self.pieces = [fold(bytes(token_bytes(token))) for token in range(size)]
        tokens = sorted(range(size), key=self.pieces.__getitem__)
        self.sorted_tokens: Ints = np.asarray(tokens, np.intp)
        self.max_piece_length = max(map(len, self.pieces), default=0)
        self._sorted_pieces = [self.pieces[token] for token in tokens]

    def prefix_span(self, start: bytes) -> tuple[int, int]:
        """Where in `order` the tokens lie that begin with `start`: from, up to."""
        low = bisect_left(self._sorted_pieces, start)
        if low == len(self._sorted_pieces) or not self._sorted_pieces[low].startswith(start):
            return low, low
        end = _prefix_upper_bound(start)
        return low, len(self._sorted_pieces) if end is None else bisect_left(self._sorted_pieces, end, low)

    def tokens_with_prefix(self, start: bytes) -> Ints:
        """Tokens that begin with `start`."""
        low, high = self.prefix_span(start)
        return self.sorted_tokens[low:high]

    def tokens_with_bytes(self, piece: bytes) -> Ints:
        """Tokens that are spelled `piece`."""
        low = bisect_left(self._sorted_pieces, piece)
        high = low
        while high < len(self._sorted_pieces) and self._sorted_pieces[high] == piece:
            high += 1
        return self.sorted_tokens[low:high]


def build_vocab_bytes(
    token_bytes: Callable[[int], bytes], size: int, *, fold: Callable[[bytes], bytes] = bytes
) -> VocabBytes:
    """How every token is spelled, `fold`ed; kept where `token_bytes` are `Pieces`."""
    return build_cached(token_bytes, ("spelling", fold), lambda: VocabBytes(token_bytes, size, fold=fold))


def encode_phrase(phrase: str | bytes, what: str) -> bytes:
    """A phrase as bytes. Raises `BadInput` for an empty one."""
    if not isinstance(phrase, str | bytes) or not phrase:
        raise BadInput(f"field {what!r}: a phrase is {phrase!r}: give text or bytes, not empty.")
    return phrase.encode() if isinstance(phrase, str) else phrase


def _prefix_upper_bound(start: bytes) -> bytes | None:
    """The first byte string after all those that begin with `start`; None when there is none."""
    kept = start.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
