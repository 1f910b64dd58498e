"""The bytes of a vocabulary, in order, so that the tokens which begin alike lie side by side."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput

Ints = npt.NDArray[np.intp]


class Spelling:
    """How every token is spelled: `pieces[token]` are its bytes, `order` (V,) its tokens sorted by them."""

    def __init__(
        self, token_bytes: Callable[[int], bytes], size: int, *, fold: Callable[[bytes], bytes] = bytes
    ) -> None:
        self.pieces = [fold(bytes(token_bytes(token))) for token in range(size)]
        tokens = sorted(range(size), key=self.pieces.__getitem__)
        self.order: Ints = np.asarray(tokens, np.intp)
        self.longest = max(map(len, self.pieces), default=0)
        self._sorted = [self.pieces[token] for token in tokens]

    def span(self, start: bytes) -> tuple[int, int]:
        """Where in `order` the tokens lie that begin with `start`: from, up to."""
        low = bisect_left(self._sorted, start)
        if low == len(self._sorted) or not self._sorted[low].startswith(start):
            return low, low
        end = _after(start)
        return low, len(self._sorted) if end is None else bisect_left(self._sorted, end, low)

    def beginning(self, start: bytes) -> Ints:
        """Tokens that begin with `start`."""
        low, high = self.span(start)
        return self.order[low:high]

    def exactly(self, piece: bytes) -> Ints:
        """Tokens that are spelled `piece`."""
        low = bisect_left(self._sorted, piece)
        high = low
        while high < len(self._sorted) and self._sorted[high] == piece:
            high += 1
        return self.order[low:high]


def phrase_bytes(phrase: str | bytes, what: str) -> bytes:
    """A phrase as bytes. Raises `BadInput` for an empty one."""
    if not isinstance(phrase, str | bytes) or not phrase:
        raise BadInput(f"field {what!r}: a phrase is {phrase!r}: give text or bytes, not empty.")
    return phrase.encode() if isinstance(phrase, str) else phrase


def _after(start: bytes) -> bytes | None:
    """The first byte string after all those that begin with `start`; None when there is none."""
    kept = start.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
