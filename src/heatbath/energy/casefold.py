"""Case folding of UTF-8 text that arrives in pieces."""

from __future__ import annotations

from codecs import getincrementaldecoder
from functools import lru_cache

_MAX_INCOMPLETE = 3


def fold_case(data: bytes) -> bytes:
    """Fold every complete UTF-8 character of `data` to one character; other bytes stay as they are.

    This is Unicode's simple case folding, built from Python's tables: the full folding where that is one character (K,
    k and the Kelvin sign agree), else the lower-case character (ẞ and ß agree; neither agrees with ss).
    """
    if data.isascii():
        return data.lower()
    text = data.decode("utf-8", errors="surrogateescape")
    return "".join(map(_fold_character, text)).encode("utf-8", errors="surrogateescape")


def split_incomplete_character(data: bytes) -> tuple[bytes, bytes]:
    """Split `data` before the bytes at its end that begin a UTF-8 character and do not complete it."""
    decoder = getincrementaldecoder("utf-8")("replace")
    decoder.decode(data[-_MAX_INCOMPLETE:])
    incomplete, _ = decoder.getstate()
    return data[: len(data) - len(incomplete)], incomplete


def starts_inside_character(data: bytes) -> bool:
    """Return True if `data` begins with a continuation byte of UTF-8."""
    return bool(data) and 0x80 <= data[0] < 0xC0


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    for form in (character.casefold(), character.lower()):
        if len(form) == 1:
            return form
    return character
