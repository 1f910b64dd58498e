"""The passages of an index in memory, in one order: by the path of the document, then by the place in it.

Beside the tables they are kept in one file of Arrow, which opens without LanceDB (whose import takes seconds) and is
mapped into memory, so that processes share it. It is made anew from the tables where it is missing or cut short.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heatbath.record.output_files import atomic_write
from heatbath.retrieval.embedding import Floats
from heatbath.retrieval.manifest import DocumentRecord, Manifest
from heatbath.retrieval.passage import Passage
from heatbath.retrieval.passage_store import PassageStore, vector_matrix

Ints = npt.NDArray[np.int64]


_COLUMNS = ["id", "title", "start", "end", "text", "metadata"]


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
        return cls(manifest, rows.select(_COLUMNS).take(order).combine_chunks(), vectors, document_n[order])

    @classmethod
    def load_file(cls, folder: Path, manifest: Manifest) -> Snapshot | None:
        """Map the file of this version into memory; None if it is missing or damaged."""
        try:
            with pa.memory_map(str(snapshot_file(folder, manifest.version))) as source:
                rows = pa.ipc.open_file(source).read_all().combine_chunks()
            if len(rows) != sum(each.passages for each in manifest.documents):
                return None
            vectors = vector_matrix(rows) if "vector" in rows.column_names else None
            return cls(manifest, rows.select(_COLUMNS), vectors, rows["document"].to_numpy())
        except (OSError, ValueError, KeyError):  # errors of Arrow are among them
            return None

    def save_file(self, folder: Path) -> None:
        """Write the file of this version, whole or not at all."""
        rows = self._rows.append_column("document", pa.array(self.document_n))
        if self.vectors is not None:
            values = pa.array(self.vectors.ravel(), pa.float32())
            rows = rows.append_column("vector", pa.FixedSizeListArray.from_arrays(values, self.vectors.shape[1]))
        with (
            atomic_write(snapshot_file(folder, self.manifest.version)) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, rows.schema) as writer,
        ):
            writer.write_table(rows)

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


def snapshot_file(folder: Path, version: str) -> Path:
    """Return the place of the file of a version."""
    return folder / f"passages-{version[:16]}.arrow"


def prune_snapshots(folder: Path, version: str) -> None:
    """Remove the files of other versions."""
    for path in (*folder.glob("passages-*.arrow"), *folder.glob(".passages-*.arrow.part")):
        if path != snapshot_file(folder, version):
            path.unlink(missing_ok=True)
