"""From token bytes to text: a token's text is what it makes printable."""

from __future__ import annotations

import codecs
from collections.abc import Iterable


class Utf8Decoder:
    """Joins bytes to text piece by piece: a piece that completes a character gets the whole of it.

    Bytes that are no UTF-8 become U+FFFD, as in one decoding of all the bytes at once.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def decode_bytes(self, piece: bytes) -> str:
        """The text that `piece` makes printable; empty in the middle of a character."""
        return self._decoder.decode(piece)

    def flush(self) -> str:
        """What is left when no more bytes come: U+FFFD for a character cut short."""
        return self._decoder.decode(b"", final=True)


def decode_pieces(pieces: Iterable[bytes]) -> list[str]:
    """One text a piece; joined they are the text of the joined bytes."""
    speller = Utf8Decoder()
    out = [speller.decode_bytes(piece) for piece in pieces]
    left = speller.flush()
    if left:
        out[-1] += left
    return out
