"""The parts of an answer that are supported or not: sentences, paragraphs, or all of it, in code points and tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

Granularity = Literal["sentence", "paragraph", "answer"]

_END = re.compile(
    r"[.!?…]+[\"'”’»)\]]*(?:[ \t]*\[[^\[\]\n]{1,32}\])*(?=\s)"  # the markers after a sentence belong to it
    r"|[。！？]+[”’」』]*(?:\[[^\[\]\n]{1,32}\])*"
    r"|\n+"
)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|No|Nr|Fig|Eq|vs|cf|etc|approx|e\.g|i\.e|a\.k\.a)|\b[A-Z]|^\s*\d{1,3})\.$"
)


@dataclass(frozen=True)
class AnswerUnit:
    """Code points `start` to `end` of an answer, and the number of its tokens up to the end of them."""

    start: int
    end: int
    token_end: int


def split_text(text: str, granularity: Granularity = "sentence") -> list[tuple[int, int]]:
    """Return the spans of the parts of a text, in code points, without the white space around them."""
    if granularity == "answer":
        cuts = []
    elif granularity == "paragraph":
        cuts = [match.end() for match in _PARAGRAPH_END.finditer(text)]
    else:
        cuts = list(_find_sentence_ends(text))
    spans = []
    for begin, end in pairwise(sorted({0, *cuts, len(text)})):
        part = text[begin:end]
        if part.strip():
            spans.append((begin + len(part) - len(part.lstrip()), begin + len(part.rstrip())))
    return spans


def _find_sentence_ends(text: str) -> Iterator[int]:
    begin = 0
    for match in _END.finditer(text):
        stop = re.match(r"[.!?…]*", match[0])
        before = text[begin : match.start() + (stop.end() if stop else 0)]
        if not _ABBREVIATION.search(before) or "\n" in match[0]:
            yield match.end()
            begin = match.end()


def locate_units(text: str, token_bytes: Sequence[bytes], granularity: Granularity = "sentence") -> list[AnswerUnit]:
    """Return the parts of an answer with their tokens.

    `token_bytes` are those of the tokens that `text` was decoded from. A token belongs to the part in which it begins,
    and a part in which none begins is joined to the next one.
    """
    begins = [0, *accumulate(map(len, token_bytes))][: len(token_bytes)]
    units: list[AnswerUnit] = []
    first, token_end = None, 0
    for start, end in split_text(text, granularity):
        first = start if first is None else first
        size = len(text[:end].encode("utf-8", errors="surrogatepass"))
        count = sum(begin < size for begin in begins)
        if count > token_end:
            units.append(AnswerUnit(first, end, count))
            first, token_end = None, count
    return units
