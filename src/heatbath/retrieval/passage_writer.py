"""The passages of changed documents on their way into the store: embedded in batches, each distinct text once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from heatbath.retrieval.document_chunks import DocumentChunk
from heatbath.retrieval.embedding import Embedder, Floats
from heatbath.retrieval.loaders import LoadedDocument
from heatbath.retrieval.manifest import DocumentRecord
from heatbath.retrieval.passage_store import PassageStore, vector_matrix

BATCH_PASSAGES = 512
"""Passages that are embedded and stored at once: the most that a killed process loses."""
CountCallback = Callable[[float], None]
"""Called with the number of bytes of source files whose passages are stored now."""


class PassageWriter:
    """Stores passages that are not stored yet. `embedder` is None in an index without vectors.

    Attributes:
        embedded: how many texts went through the embedding model.
    """

    def __init__(self, store: PassageStore, embedder: Embedder | None, count_bytes: CountCallback) -> None:
        self.embedded = 0
        self._store, self._embedder, self._count_bytes = store, embedder, count_bytes
        rows = store.read_passages()
        self._ids = set(rows["id"].to_pylist())
        self._text_hashes = store.list_texts()
        self._known_row, self._known_vectors = _index_vectors(rows) if embedder else ({}, None)
        self._rows: list[dict[str, Any]] = []
        self._texts: dict[str, str] = {}
        self._waiting_bytes = 0.0

    def add(self, record: DocumentRecord, document: LoadedDocument, chunks: Sequence[DocumentChunk], size: int) -> None:
        """Take the passages of a document, from a file of `size` bytes."""
        if record.content_hash not in self._text_hashes:
            self._text_hashes.add(record.content_hash)
            self._texts[record.content_hash] = document.text
        if not chunks:
            self._waiting_bytes += size
        for chunk in chunks:
            row = _build_row(record, document.text, chunk)
            self._waiting_bytes += size / len(chunks)
            if row["id"] not in self._ids:
                self._ids.add(row["id"])
                self._rows.append(row)
            if len(self._rows) >= BATCH_PASSAGES:
                self.flush()

    def flush(self) -> None:
        """Embed and store what waits: texts before passages, since a passage says that its text is there."""
        self._store.add_texts(self._texts)
        self._texts = {}
        if self._rows:
            self._store.add_passages(self._rows, self._embed([row["text"] for row in self._rows]))
        self._rows = []
        self._count_bytes(self._waiting_bytes)
        self._waiting_bytes = 0.0

    def _embed(self, texts: list[str]) -> Floats | None:
        """Return the vectors of texts (n, d), those of known texts from the store."""
        if self._embedder is None:
            return None
        new = [text for text in dict.fromkeys(texts) if text not in self._known_row]
        self.embedded += len(new)
        vectors = np.zeros((len(texts), self._embedder.dimensions), np.float32)
        vector_of = dict(zip(new, self._embedder.embed_passages(new) if new else (), strict=True))
        for i, text in enumerate(texts):
            known = self._known_row.get(text)
            vectors[i] = vector_of[text] if known is None else self._known_vectors[known]  # type: ignore[index]
        return vectors


def _index_vectors(rows: pa.Table) -> tuple[dict[str, int], Floats | None]:
    """Return where the vector of each text is, and the vectors."""
    if "vector" not in rows.column_names or not len(rows):
        return {}, None
    return {str(text): i for i, text in enumerate(rows["text"].to_pylist())}, vector_matrix(rows)


def _build_row(record: DocumentRecord, text: str, chunk: DocumentChunk) -> dict[str, Any]:
    identity = f"{record.path}\0{record.content_hash}\0{chunk.start}\0{chunk.end}"
    return {
        "id": hashlib.sha256(identity.encode()).hexdigest()[:32],
        "document_key": record.key,
        "title": chunk.title,
        "start": chunk.start,
        "end": chunk.end,
        "text": text[chunk.start : chunk.end],
        "metadata": json.dumps(dict(chunk.metadata)),
    }
