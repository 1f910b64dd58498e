"""Passages for tests, made of texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from heatbath.retrieval.passage import Passage


def make_passages(texts: Sequence[str]) -> tuple[Passage, ...]:
    """A passage for each text, each a whole document."""
    return tuple(
        Passage(
            id=f"p{number}",
            document=f"docs/{number}.txt",
            title=f"Document {number}",
            start=0,
            end=len(text),
            text=text,
            content_hash=hashlib.sha256(text.encode()).hexdigest(),
            metadata={},
        )
        for number, text in enumerate(texts, 1)
    )
