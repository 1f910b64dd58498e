"""Decode token bytes to text piece by piece."""

from __future__ import annotations

import codecs
from collections.abc import Iterable


class Utf8Decoder:
    """An incremental UTF-8 decoder: the piece that completes a character gets the whole character.

    Invalid bytes become U+FFFD, as when all bytes are decoded at once.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def decode_bytes(self, piece: bytes) -> str:
        """Return the text that `piece` completes; empty in the middle of a character."""
        return self._decoder.decode(piece)

    def flush(self) -> str:
        """Return the rest at the end of the bytes: U+FFFD for an incomplete character, else an empty string."""
        return self._decoder.decode(b"", final=True)


def decode_pieces(pieces: Iterable[bytes]) -> list[str]:
    """Decode each piece; joined, the texts are the text of the joined bytes."""
    decoder = Utf8Decoder()
    texts = [decoder.decode_bytes(piece) for piece in pieces]
    rest = decoder.flush()
    if rest:
        texts[-1] += rest
    return texts
