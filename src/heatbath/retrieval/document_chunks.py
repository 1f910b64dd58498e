"""Chunks of a document: by its sections, and within them by tokens at the best break in reach.

A chunk is a pair of offsets, and its text is the slice between them: `document[start:end] == chunk.text` in code points
by construction. Nothing is ever searched for, so that repeated paragraphs stay apart.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput
from heatbath.retrieval.loaders.loaded_document import DocumentSection, LoadedDocument

Ints = npt.NDArray[np.int64]
FindTokens = Callable[[Sequence[str]], list[Ints]]
"""From n texts to the code points where their tokens begin and end, (tokens, 2) each."""

_SEGMENT = 20_000
_EMPTY_LINE = 4
_SENTENCE_END = re.compile(r"[.!?。！？][\"'”’)\]]*$")
_WORDS = re.compile(r"\w[\w\u0300-\u036f]*|[^\w\s]")


@dataclass(frozen=True)
class ChunkPlan:
    """The largest number of tokens of a chunk, and those that it shares at most with the one before it.

    Raises:
        BadInput: not 1 <= tokens, or not 0 <= overlap <= tokens.
    """

    tokens: int = 192
    overlap: int = 24

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise BadInput(f"`tokens` must be at least 1, got {self.tokens}.", param="tokens")
        if not 0 <= self.overlap <= self.tokens:
            raise BadInput(f"`overlap` must be from 0 to {self.tokens} tokens, got {self.overlap}.", param="overlap")


@dataclass(frozen=True)
class DocumentChunk:
    """The code points `start` to `end` of a document, and what its section says."""

    start: int
    end: int
    title: str
    metadata: Mapping[str, Any]


def split_document(document: LoadedDocument, plan: ChunkPlan, find_tokens: FindTokens) -> list[DocumentChunk]:
    """Return the chunks of a document in order. Their ends rise strictly, and so do their starts within a section.

    Chunks do not cross sections; a section longer than `plan.tokens` is cut at the best break of the last half in
    reach: an empty line, a line end, the end of a sentence, a space, else between two tokens.
    """
    chunks: list[DocumentChunk] = []
    for section, span_t in zip(document.sections, _tokenize_sections(document, find_tokens), strict=True):
        spans = _Cutter(document.text, section, span_t).cut(plan)
        chunks.extend(DocumentChunk(start, end, section.title, section.metadata) for start, end in spans)
    return chunks


def find_words(texts: Sequence[str]) -> list[Ints]:
    """Return the spans of words and of single other characters: tokens where there is no tokenizer."""
    return [np.array([m.span() for m in _WORDS.finditer(text)], np.int64).reshape(-1, 2) for text in texts]


def _tokenize_sections(document: LoadedDocument, find_tokens: FindTokens) -> Iterator[Ints]:
    """Yield the spans of the tokens of each section in the document, (tokens, 2).

    Tokenizers take texts of millions of characters badly, so that they get segments that end at spaces.
    """
    starts: list[list[int]] = [list(_segment_starts(document.text, section)) for section in document.sections]
    bounds = [
        (start, end)
        for section, places in zip(document.sections, starts, strict=True)
        for start, end in zip(places, [*places[1:], section.end], strict=True)
    ]
    segments = iter(zip(bounds, find_tokens([document.text[start:end] for start, end in bounds]), strict=True))
    for places in starts:
        parts = [span_t + start for (start, _), span_t in (next(segments) for _ in places)]
        span_t = np.concatenate([np.empty((0, 2), np.int64), *parts])
        yield span_t[span_t[:, 1] > span_t[:, 0]]


def _segment_starts(text: str, section: DocumentSection) -> Iterator[int]:
    start = section.start
    while start < section.end:
        yield start
        stop = start + _SEGMENT
        if stop >= section.end:
            return
        space = max(text.rfind(" ", start + 1, stop), text.rfind("\n", start + 1, stop))
        start = space if space > 0 else stop


class _Cutter:
    """Cuts one section, given the spans of its tokens (t, 2)."""

    def __init__(self, text: str, section: DocumentSection, span_t: Ints) -> None:
        self._text, self._section = text, section
        self._first, self._last = span_t[:, 0].tolist(), span_t[:, 1].tolist()

    def cut(self, plan: ChunkPlan) -> Iterator[tuple[int, int]]:
        """Yield the spans of the chunks, without white space at their ends."""
        count, begin, stop = len(self._first), 0, 0
        while stop < count:
            limit = begin + plan.tokens
            low = max(begin + plan.tokens // 2, stop) + 1
            stop = count if limit >= count else self._best_break(min(low, limit), limit)
            span = self._trim(self._place(begin), self._place(stop))
            if span[0] < span[1]:
                yield span
            begin = self._overlap_start(max(stop - plan.overlap, begin + 1), stop)

    def _place(self, token: int) -> int:
        """Return where a token begins; the first and the one after the last stand for the ends of the section."""
        if token <= 0 or token >= len(self._first):
            return self._section.start if token <= 0 else self._section.end
        place = int(self._first[token])
        while place < self._section.end and unicodedata.combining(self._text[place]):
            place += 1
        return place

    def _best_break(self, low: int, high: int) -> int:
        """Return the token from `low` to `high` before which a cut is best, the last of equals."""
        best, rating = high, -1
        for token in range(high, low - 1, -1):
            if (own := self._rate_break(token)) > rating:
                best, rating = token, own
            if rating == _EMPTY_LINE:
                break
        return best

    def _overlap_start(self, low: int, high: int) -> int:
        """Return the token from `low` to below `high` where a repetition begins best, the first of equals."""
        return max(range(low, high), key=lambda token: (self._rate_break(token), -token), default=high)

    def _rate_break(self, token: int) -> int:
        """Rate a cut before a token: 4 for an empty line, 3 a line end, 2 the end of a sentence, 1 a space, else 0."""
        end, start = self._last[token - 1], self._first[token]
        gap = self._text[end:start]
        if not gap or not gap.isspace():
            return 0
        lines = gap.count("\n") or gap.count("\r")
        if lines:
            return _EMPTY_LINE if lines > 1 else 3
        return 2 if _SENTENCE_END.search(self._text, max(0, end - 3), end) else 1

    def _trim(self, start: int, end: int) -> tuple[int, int]:
        while start < end and self._text[start].isspace():
            start += 1
        while start < end and self._text[end - 1].isspace():
            end -= 1
        return start, end
