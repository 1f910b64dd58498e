"""The passages of an index in memory, in one order: by the path of the document, then by the place in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heatbath.retrieval.embedding import Floats
from heatbath.retrieval.manifest import DocumentRecord, Manifest
from heatbath.retrieval.passage import Passage
from heatbath.retrieval.passage_store import PassageStore, vector_matrix

Ints = npt.NDArray[np.int64]


class IncompleteIndex(Exception):
    """Documents of a manifest whose text or passages are not all there; `.documents` are their records."""

    def __init__(self, documents: list[DocumentRecord]) -> None:
        super().__init__(f"{len(documents)} documents lack their text or passages")
        self.documents = documents


class Snapshot:
    """n passages, their documents, and their vectors (n, d), None without vectors. Nothing on disk is read later."""

    def __init__(self, manifest: Manifest, rows: pa.Table, vectors: Floats | None, document_n: Ints) -> None:
        self.manifest, self.vectors, self.document_n = manifest, vectors, document_n
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @classmethod
    def load(cls, store: PassageStore, manifest: Manifest) -> Snapshot:
        """Read the passages that a manifest lists.

        Raises:
            IncompleteIndex: some of them, or the text of a document, are missing.
            DamagedTable: the table cannot be read.
        """
        rows = store.read_passages()
        keys = [each.key for each in manifest.documents]
        found = pc.index_in(rows["document_key"], value_set=pa.array(keys, pa.string()))
        is_listed = pc.is_valid(found)
        rows, document_n = rows.filter(is_listed), found.filter(is_listed).to_numpy().astype(np.int64)
        counts, texts = np.bincount(document_n, minlength=len(keys)), store.list_texts()
        lacking = [
            each
            for each, count in zip(manifest.documents, counts, strict=True)
            if count != each.passages or each.content_hash not in texts
        ]
        if lacking:
            raise IncompleteIndex(lacking)
        order = np.lexsort((rows["start"].to_numpy(), document_n))
        vectors = vector_matrix(rows)[order] if "vector" in rows.column_names else None
        kept = rows.select(["id", "title", "start", "end", "text", "metadata"]).take(order)
        return cls(manifest, kept.combine_chunks(), vectors, document_n[order])

    def texts(self) -> Iterator[str]:
        """Yield the text of every passage in order."""
        for chunk in self._rows["text"].chunks:
            yield from (str(value.as_py()) for value in chunk)

    def passage(self, row: int) -> Passage:
        """Return the passage of a row."""
        record = self.manifest.documents[self.document_n[row]]
        values: dict[str, Any] = {name: self._rows[name][row].as_py() for name in self._rows.column_names}
        return Passage(
            id=values["id"],
            document=record.path,
            title=values["title"],
            start=values["start"],
            end=values["end"],
            text=values["text"],
            content_hash=record.content_hash,
            metadata={**record.searchable_metadata, **json.loads(values["metadata"])},
        )
