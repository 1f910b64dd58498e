"""An exact embedder for tests: counts of words, hashed to 64 numbers. Texts that share words are near."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from heatbath.retrieval.document_chunks import Ints, find_words
from heatbath.retrieval.embedding import Floats


class WordEmbedder:
    """Counts how many texts it embedded, and can raise at one of them."""

    name, dimensions, max_tokens = "words", 64, 10**6

    def __init__(self, fail_at: int = 0) -> None:
        self.embedded, self._fail_at = 0, fail_at

    def embed_passages(self, texts: Sequence[str]) -> Floats:
        self.embedded += len(texts)
        if 0 < self._fail_at <= self.embedded:
            raise KeyboardInterrupt
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> Floats:
        vector = np.zeros(self.dimensions, np.float32)
        for word in text.lower().split():
            vector[zlib.crc32(word.encode("utf-8", "replace")) % self.dimensions] += 1
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)

    def find_tokens(self, texts: Sequence[str]) -> list[Ints]:
        return find_words(texts)
