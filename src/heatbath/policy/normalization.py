"""Copies of a text that rules are matched on, each with a map back to the code points of the original."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from html import unescape
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt
import regex

Ints = npt.NDArray[np.int64]
Span = tuple[int, int]
"""Code points `start` to `end`."""

_ROUNDS = 4
"""The number of times that encoded forms are decoded, for forms encoded more than once."""

# Entities, and the start of percent signs that are encoded themselves: %2573 is %73.
_ENTITY = regex.compile(r"&(?:#[0-9]{1,7};?|#[xX][0-9A-Fa-f]{1,6};?|[A-Za-z][A-Za-z0-9]{1,31};)")
_NESTED_PERCENT = regex.compile(r"%(?:25)+(?=[0-9A-Fa-f]{2})")
_PERCENT = regex.compile(r"(?:%[0-9A-Fa-f]{2})+")
_UTF8_CHARACTER = regex.compile(
    rb"[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_UNICODE_ESCAPE = regex.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}")
_JSON_ESCAPE = regex.compile(r'\\["\\/bfnrt]')
# What joins with the characters before it under NFKC. Longer runs are cut: ordering them takes quadratic time.
_CLUSTER = regex.compile(
    r"[^\p{M}\u1160-\u11ff\u3130-\u318f\uff9e-\uffdc]?[\p{M}\u1160-\u11ff\u3130-\u318f\uff9e-\uffdc]{1,32}|[^\x00-\x7f]"
)
_IGNORABLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cf}\p{Co}\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]+")
_SPACES = regex.compile(r"  +")
_WHITE_SPACE = dict.fromkeys(map(ord, "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"), " ")
_WHITE_SPACE |= dict.fromkeys(range(0x2000, 0x200B), " ")
_ENCODED = regex.compile(r"[^\x09-\x0d\x20-\x7e]|%[0-9A-Fa-f]{2}|&[#A-Za-z]|\\u[0-9A-Fa-f]{4}")
_NONASCII = regex.compile(r"[^\x00-\x7f]+")


@dataclass(frozen=True)
class TextView:
    """A copy of a text. Its character i stands for code points `starts[i]` to `ends[i]`, by None for i to i + 1."""

    text: str
    starts: Ints | None = None
    ends: Ints | None = None

    def original_span(self, start: int, end: int) -> Span:
        """Return the code points of the original that the non-empty part `start` to `end` of this copy stands for."""
        if self.starts is None or self.ends is None:
            return start, end
        return int(self.starts[start]), int(self.ends[end - 1])

    @cached_property
    def lower_case(self) -> TextView:
        """The copy with its case folded."""
        folded = self.text.casefold()
        if len(folded) == len(self.text):  # folding only lengthens a character, so that each has one
            return TextView(folded, self.starts, self.ends)
        view = _substitute(self, _NONASCII, lambda run: [(each.casefold(), 1) for each in run])
        return TextView(view.text.lower(), view.starts, view.ends)


def build_views(text: str, *, has_json_escapes: bool = False) -> tuple[TextView, ...]:
    r"""Return the text as it is and, where that differs, its normalised copy.

    The copy has HTML entities, percent-encoded UTF-8 and \\u escapes decoded, also where they are nested (up to four
    times), compatibility forms such as full-width letters replaced (NFKC), zero-width, control and private characters
    removed, and each run of white space replaced by one space. `has_json_escapes`: the text is JSON, so that \\n and
    the like are decoded too. Linear in the length of the text.
    """
    original = TextView(text)
    copy = _substitute(original, _JSON_ESCAPE, _decode_json_escape) if has_json_escapes else original
    for _ in range(_ROUNDS):
        before = copy.text
        if not _ENCODED.search(before):
            break
        copy = _decode_once(copy)
        if copy.text == before:
            break
    copy = TextView(copy.text.translate(_WHITE_SPACE), copy.starts, copy.ends)
    copy = _substitute(copy, _SPACES, lambda run: [(" ", len(run))])
    return (original,) if copy.text == text else (original, copy)


def normalize_phrase(phrase: str) -> str:
    """Return a phrase as it is found in the copies whose case is folded; "" for one that has no text."""
    return build_views(phrase)[-1].lower_case.text.strip()


def _decode_once(view: TextView) -> TextView:
    view = _substitute(view, _ENTITY, lambda found: [(unescape(found), len(found))])
    view = _substitute(view, _UNICODE_ESCAPE, _decode_unicode_escape)
    view = _substitute(view, _NESTED_PERCENT, lambda found: [("%", len(found))])
    view = _substitute(view, _PERCENT, _decode_percent)
    view = _substitute(view, _IGNORABLE, lambda found: [("", len(found))])
    if not unicodedata.is_normalized("NFKC", view.text):
        view = _substitute(view, _CLUSTER, _normalize_cluster)
    return view


def _decode_unicode_escape(found: str) -> list[tuple[str, int]]:
    decoded: str = json.loads(f'"{found}"')
    return [(found if "\ud800" <= decoded[0] <= "\udfff" else decoded, len(found))]


def _decode_json_escape(found: str) -> list[tuple[str, int]]:
    return [(json.loads(f'"{found}"'), len(found))]


def _decode_percent(found: str) -> list[tuple[str, int]]:
    """Decode %XX%XX…: each complete UTF-8 character; other bytes stay as they are written."""
    data, pieces, position = unquote_to_bytes(found), list[tuple[str, int]](), 0
    while position < len(data):
        match = _UTF8_CHARACTER.match(data, position)
        length = len(match[0]) if match else 1
        written = found[3 * position : 3 * (position + length)]
        pieces.append((_decode_character(match[0], written) if match else written, 3 * length))
        position += length
    return pieces


def _decode_character(data: bytes, written: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return written


def _normalize_cluster(found: str) -> list[tuple[str, int]]:
    normal = unicodedata.normalize("NFKC", found)
    return [(each, 1) for each in found] if normal == found else [(normal, len(found))]


def _substitute(view: TextView, pattern: Any, replace: Callable[[str], list[tuple[str, int]]]) -> TextView:
    """Return the view with each match replaced by pieces of (new text, number of characters that it stands for)."""
    pieces = list(_iterate_pieces(view.text, pattern, replace))
    if not any(width for _, _, width in pieces):
        return view
    texts, origins, widths = zip(*pieces, strict=True)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    first, width = np.asarray(origins, np.int64), np.asarray(widths, np.int64)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    # A piece of width 0 is copied character by character; any other stands for all its characters at once.
    copied = np.repeat(width == 0, lengths)
    low = np.repeat(first, lengths) + np.where(copied, within, 0)
    high = low + np.where(copied, 1, np.repeat(width, lengths)) - 1
    text = "".join(texts)
    if view.starts is None or view.ends is None:
        return TextView(text, low, high + 1)
    return TextView(text, view.starts[low], view.ends[high])


def _iterate_pieces(
    text: str, pattern: Any, replace: Callable[[str], list[tuple[str, int]]]
) -> Iterator[tuple[str, int, int]]:
    """Yield (text, position, width) of the parts; width 0 marks a part that is kept as it is."""
    done = 0
    for match in pattern.finditer(text):
        start = match.start()
        if start > done:
            yield text[done:start], done, 0
        for piece, width in replace(match[0]):
            yield piece, start, width
            start += width
        done = start
    if done < len(text) or not done:
        yield text[done:], done, 0
