"""The passages of an index in LanceDB: a table of their vectors and places, and one of the texts of documents.

Both only ever gain rows before the manifest is replaced, and lose rows after it: rows that the manifest does not list
are not part of the index. A process that is killed leaves such rows at most, and the next one takes them up.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from heatbath.errors import MissingExtra
from heatbath.retrieval.embedding import Floats

PASSAGES, TEXTS = "passages", "texts"
_GRACE = timedelta(minutes=10)  # files that a reader has begun with stay that long
_TEXT_SCHEMA = pa.schema({"content_hash": pa.string(), "text": pa.large_string()})
_PASSAGE_TYPES: dict[str, pa.DataType] = {
    "id": pa.string(),
    "document_key": pa.string(),
    "title": pa.string(),
    "start": pa.int64(),
    "end": pa.int64(),
    "text": pa.large_string(),
    "metadata": pa.string(),
}
"""The columns of every index; one with vectors has `vector` after them."""
_PASSAGE_SCHEMA = pa.schema(_PASSAGE_TYPES)
_SCHEMAS = {PASSAGES: _PASSAGE_SCHEMA, TEXTS: _TEXT_SCHEMA}


class DamagedTable(Exception):
    """A table that LanceDB cannot read."""


class PassageStore:
    """The two tables of an index folder.

    Raises:
        MissingExtra: without the extra `retrieval`.
    """

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("LANCE_LOG", "error")  # read once, when the library is loaded
        try:
            import lancedb
        except ImportError as error:
            raise MissingExtra("an index of documents", "retrieval") from error
        self._folder = folder
        self._database = lancedb.connect(str(folder))

    def read_passages(self, columns: Sequence[str] = ()) -> pa.Table:
        """Return the rows of all passages, each id once; `id` must be among the columns, which are all by default.

        Raises:
            DamagedTable: a file of the table is missing or cut short.
        """
        return _drop_repeated(self._read(PASSAGES, columns), "id")

    def read_text(self, content_hash: str) -> str | None:
        """Return the text of a document by its hash, None if it is not there.

        Raises:
            DamagedTable: a file of the table is missing or cut short.
        """
        rows = self._read(TEXTS, ["text"], f"content_hash = '{content_hash}'")
        return str(rows["text"][0].as_py()) if len(rows) else None

    def list_texts(self) -> set[str]:
        """Return the hashes of the documents whose text is there.

        Raises:
            DamagedTable: a file of the table is missing or cut short.
        """
        return _values(self._read(TEXTS, ["content_hash"]), "content_hash")

    def add_texts(self, texts: dict[str, str]) -> None:
        """Add the texts of documents by their hashes."""
        if texts:
            self._append(TEXTS, pa.table({"content_hash": list(texts), "text": list(texts.values())}, _TEXT_SCHEMA))

    def add_passages(self, rows: Sequence[dict[str, Any]], vectors: Floats | None) -> None:
        """Add passages, with their vectors (n, d) in an index that has them."""
        table = pa.table({name: [row[name] for row in rows] for name in _PASSAGE_SCHEMA.names}, _PASSAGE_SCHEMA)
        if vectors is not None:
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), vectors.shape[1])
            table = table.append_column("vector", column)
        self._append(PASSAGES, table)

    def prune(self, document_keys: Collection[str], content_hashes: Collection[str]) -> None:
        """Remove the rows of documents that are not given, join small files and remove those no longer used."""
        for name, column, kept in ((PASSAGES, "document_key", document_keys), (TEXTS, "content_hash", content_hashes)):
            table = self._open(name)
            if table is None:
                continue
            stale = _values(self._read(name, [column]), column) - set(kept)
            for batch in _batches(sorted(stale), 500):
                table.delete(f"{column} IN ({', '.join(map(repr, batch))})")
            table.optimize(cleanup_older_than=_GRACE)

    def discard(self) -> None:
        """Remove both tables."""
        for name in (PASSAGES, TEXTS):
            shutil.rmtree(self._folder / f"{name}.lance", ignore_errors=True)

    def _append(self, name: str, rows: pa.Table) -> None:
        table = self._open(name)
        if table is None:
            shutil.rmtree(self._folder / f"{name}.lance", ignore_errors=True)  # its creation was interrupted
            self._database.create_table(name, rows)
        else:
            table.add(rows)

    def _open(self, name: str) -> Any:
        """Return a table; None if there is none, or only the beginning of one."""
        if not any((self._folder / f"{name}.lance" / "_versions").glob("*.manifest")):
            return None
        try:
            return self._database.open_table(name)
        except (ValueError, RuntimeError, OSError) as error:
            raise DamagedTable(name) from error

    def _read(self, name: str, columns: Sequence[str], condition: str = "") -> pa.Table:
        table = self._open(name)
        if table is None:
            return _SCHEMAS[name].empty_table()
        try:
            query = table.search().select(list(columns or table.schema.names))
            query = query.where(condition) if condition else query
            rows: pa.Table = query.limit(max(1, table.count_rows())).to_arrow()
            return rows
        except Exception as error:  # the library passes on the errors of its Rust part as they come
            raise DamagedTable(name) from error


def vector_matrix(rows: pa.Table) -> Floats:
    """Return the vectors of passages, (n, d)."""
    column: Any = rows["vector"].combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values.reshape(len(rows), column.type.list_size), np.float32)


def _drop_repeated(rows: pa.Table, name: str) -> pa.Table:
    """Return the first row of each value of a column."""
    values = rows[name].combine_chunks()
    if len(values) == len(pc.unique(values)):
        return rows
    _, first = np.unique(np.asarray(values.to_pylist()), return_index=True)
    return rows.take(np.sort(first))


def _values(rows: pa.Table, name: str) -> set[str]:
    return {str(value) for value in rows[name].to_pylist()}


def _batches(items: list[str], size: int) -> list[list[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
