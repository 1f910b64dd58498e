"""The parts of an answer that are supported or not: sentences, paragraphs, or all of it, in code points and tokens."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Literal

Granularity = Literal["sentence", "paragraph", "answer"]
GRANULARITIES: tuple[Granularity, ...] = ("sentence", "paragraph", "answer")

_END = re.compile(
    r"[.!?…]+[\"'”’»)\]]*(?:[ \t]*\[[^\[\]\n]{1,32}\])*(?=\s)"  # the markers after a sentence belong to it
    r"|[。！？]+[”’」』]*(?:\[[^\[\]\n]{1,32}\])*"
    r"|\n+"
)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof|St|Fig|Eq|vs|cf|etc|approx|e\.g|i\.e|a\.k\.a)|\b[A-Z]|^\s*\d{1,3})\.$"
)


@dataclass(frozen=True)
class AnswerUnit:
    """Code points `start` to `end` of an answer, and the runs of tokens that are its text, each (begin, end)."""

    start: int
    end: int
    token_spans: tuple[tuple[int, int], ...]


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


def locate_units(
    text: str,
    token_bytes: Sequence[bytes],
    granularity: Granularity = "sentence",
    *,
    skipped: Sequence[tuple[int, int]] = (),
) -> list[AnswerUnit]:
    """Return the parts of an answer with their tokens.

    `token_bytes` are those of the tokens that `text` was decoded from. A token belongs to the part in which it begins;
    one that begins in a span of `skipped` (code points, or the white space before it) belongs to none, and a part
    without tokens is joined to the next one.
    """
    places = _locate_tokens(text, token_bytes)
    hidden = [(begin - (len(text[:begin]) - len(text[:begin].rstrip())), end) for begin, end in skipped]
    counts = [not any(begin <= place < end for begin, end in hidden) for place in places]
    units: list[AnswerUnit] = []
    first: int | None = None
    token = 0
    for start, end in split_text(text, granularity):
        first = start if first is None else first
        begin = token
        while token < len(places) and places[token] < end:
            token += 1
        spans = tuple(_find_runs(counts, begin, token))
        if spans:
            units.append(AnswerUnit(first, end, spans))
            first = None
    return units


def _locate_tokens(text: str, token_bytes: Sequence[bytes]) -> list[int]:
    """Return the code point in which each token begins."""
    sizes = [len(character.encode("utf-8", errors="surrogatepass")) for character in text]
    ends = list(accumulate(sizes))
    begins = [0, *accumulate(map(len, token_bytes))][: len(token_bytes)]
    return [bisect_right(ends, begin) for begin in begins]


def _find_runs(counts: Sequence[bool], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of tokens from `begin` to `end` that count."""
    for is_counted, run in groupby(range(begin, end), key=lambda token: counts[token]):
        places = list(run)
        if is_counted:
            yield places[0], places[-1] + 1
