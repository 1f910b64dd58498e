"""From token bytes to text: a token's text is what it makes printable."""

from __future__ import annotations

import codecs
from collections.abc import Iterable


class Speller:
    """Joins bytes to text piece by piece: a piece that completes a character gets the whole of it.

    Bytes that are no UTF-8 become U+FFFD, as in one decoding of all the bytes at once.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, piece: bytes) -> str:
        """The text that `piece` makes printable; empty in the middle of a character."""
        return self._decoder.decode(piece)

    def end(self) -> str:
        """What is left when no more bytes come: U+FFFD for a character cut short."""
        return self._decoder.decode(b"", final=True)


def texts(pieces: Iterable[bytes]) -> list[str]:
    """One text a piece; joined they are the text of the joined bytes."""
    speller = Speller()
    out = [speller.push(piece) for piece in pieces]
    left = speller.end()
    if left:
        out[-1] += left
    return out
