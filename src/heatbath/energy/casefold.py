"""Letter case folded away in bytes that arrive in pieces."""

from __future__ import annotations

from functools import lru_cache


def fold_case(data: bytes) -> bytes:
    """`data` with every whole character of UTF-8 folded to one character; bytes that are none stay as they are.

    It is Unicode's simple folding, taken from Python's tables: the full folding where that is one character (K, k and
    the Kelvin sign agree), else the lower-case letter (ẞ and ß agree; neither agrees with ss).
    """
    if data.isascii():
        return data.lower()
    text = data.decode("utf-8", errors="surrogateescape")
    return "".join(map(_fold_character, text)).encode("utf-8", errors="surrogateescape")


def split_incomplete_character(data: bytes) -> tuple[bytes, bytes]:
    """`data` as what is done with and the bytes at its end that may begin a character."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return (data[:-back], data[-back:]) if needed > back else (data, b"")
        if byte < 0x80:
            break
    return data, b""


def starts_inside_character(data: bytes) -> bool:
    """Whether `data` begins within a character."""
    return bool(data) and 0x80 <= data[0] < 0xC0


@lru_cache(maxsize=4096)
def _fold_character(character: str) -> str:
    for form in (character.casefold(), character.lower()):
        if len(form) == 1:
            return form
    return character
