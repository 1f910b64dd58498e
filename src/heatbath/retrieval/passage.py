"""Passages of documents, and the passages that a search found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Passage:
    """A part of a document: its code points `start` to `end`.

    Attributes:
        id: digest of the document's path, its content and the place; the same for the same part of the same content.
        document: path of the document within its index.
        title: heading above the passage, or the name of the document.
        content_hash: SHA-256 of the document's text, as hex digits.
        metadata: what the document says of itself, for filters.
    """

    id: str
    document: str
    title: str
    start: int
    end: int
    text: str
    content_hash: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class SearchHit:
    """A passage that was found, from rank 1 on; ranks are None in a list that it is not in."""

    passage: Passage
    rank: int
    score: float
    bm25_rank: int | None
    dense_rank: int | None
