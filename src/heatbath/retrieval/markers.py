"""Written citations of an answer: markers such as [1] and [1, 2], and quoted spans."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from heatbath.retrieval.passage import Passage

_BRACKETS = re.compile(r"\[([^\[\]\n]{1,64})\](?!\()")
_LIST = re.compile(r"\s*[0-9]+(?:\s*[-–]\s*[0-9]+)?(?:\s*[,;]\s*[0-9]+(?:\s*[-–]\s*[0-9]+)?)*\s*")
_NAME = re.compile(r"\^?[0-9A-Za-z]{1,3}")
_MAX_RANGE = 64
_QUOTES = re.compile(r"“([^“”]+)”|\"([^\"\n]+)\"|«([^«»]+)»|„([^„“”]+)[“”]")
MIN_QUOTED_CHARACTERS = 8
"""Shorter quoted spans are words that are mentioned, not quotations."""


@dataclass(frozen=True)
class Marker:
    """A marker at code points `start` to `end`: the numbers of passages that were shown, and what names none."""

    start: int
    end: int
    numbers: tuple[int, ...]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quote:
    """A quoted span at code points `start` to `end`, quotation marks included; `passages` are those that have it."""

    start: int
    end: int
    passages: tuple[int, ...]


def find_markers(text: str, num_passages: int) -> list[Marker]:
    """Return the markers of an answer to which passages 1 to `num_passages` were shown.

    A number that no passage was shown under is unknown, and so is a short name such as [x]; other text in brackets and
    links are no markers.
    """
    found = []
    for match in _BRACKETS.finditer(text):
        if _LIST.fullmatch(match[1]):
            parts = _expand_list(match[1])
        elif _NAME.fullmatch(match[1]):
            parts = [match[1]]
        else:
            continue
        known = {part: int(part) for part in parts if part.isdecimal() and 1 <= int(part) <= num_passages}
        unknown = tuple(dict.fromkeys(part for part in parts if part not in known))
        found.append(Marker(match.start(), match.end(), tuple(dict.fromkeys(known.values())), unknown))
    return found


def find_marker_spans(text: str) -> list[tuple[int, int]]:
    """Return the code points of all markers, whatever they name."""
    return [(marker.start, marker.end) for marker in find_markers(text, 0)]


def _expand_list(content: str) -> list[str]:
    parts = []
    for part in re.split(r"[,;]", content):
        first, *last = (number.strip()[:18] for number in re.split(r"[-–]", part))
        if last and 0 <= int(last[0]) - int(first) < _MAX_RANGE:
            parts += [str(number) for number in range(int(first), int(last[0]) + 1)]
        else:
            parts += [first, *last]
    return parts


def find_quotes(text: str, passages: Sequence[Passage]) -> list[Quote]:
    """Return the quoted spans of an answer, each with the passages that hold it letter for letter.

    White space, case and the form of quotation marks do not count.
    """
    contents = [_normalize(passage.text) for passage in passages]
    quotes = []
    for match in _QUOTES.finditer(text):
        quoted = _normalize(next(group for group in match.groups() if group is not None)).strip(" .,;…")
        if len(quoted) >= MIN_QUOTED_CHARACTERS:
            holders = tuple(number for number, content in enumerate(contents, 1) if quoted in content)
            quotes.append(Quote(match.start(), match.end(), holders))
    return quotes


def _normalize(text: str) -> str:
    plain = text.translate(str.maketrans("“”„«»’‘", '"""""\'\''))
    return " ".join(plain.split()).casefold()
