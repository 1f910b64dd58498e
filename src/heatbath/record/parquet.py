"""Traces on disk: Parquet, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heatbath.errors import BadInput
from heatbath.record.record import NODE_COLUMNS
from heatbath.record.schema import parse_provenance, read_metadata, record_from_table
from heatbath.record.trace import Trace

ROW_GROUP_SIZE = 16_384
_DICTIONARY_COLUMNS = ("token_id", "text", "bytes", "sequence")


def write_traces(path: str | Path, traces: Sequence[Trace]) -> None:
    """Write traces to one Parquet file, in their order; nothing is left of it when that fails."""
    if not traces:
        raise BadInput(f"there is no trace to write to {path}: give at least one.")
    write_tables(Path(path), (trace.to_table() for trace in traces))


def read_traces(path: str | Path) -> list[Trace]:
    """The traces of a Parquet file, one for each sequence.

    Raises:
        BadInput: the file is not there, is no Parquet, or holds no traces.
    """
    try:
        table = pq.read_table(path)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path} cannot be read as Parquet: {error}") from error
    about = parse_provenance(read_metadata(table.schema, path))
    tokens, positions, sequence = (table[name].to_numpy() for name in ("token_id", "position", "sequence"))
    spelling = dict(zip(tokens.tolist(), table["bytes"].to_pylist(), strict=True))
    record = record_from_table(table)
    return [
        Trace(tokens[i:j], positions[i:j], record.take(slice(i, j)), about, spelling.__getitem__, int(sequence[i]))
        for i, j in _find_runs(sequence)
    ]


def _find_runs(sequence: Any) -> Iterator[tuple[int, int]]:
    """Bounds of the stretches of one value."""
    edges = [0, *(np.flatnonzero(np.diff(sequence)) + 1).tolist(), len(sequence)]
    return ((i, j) for i, j in pairwise(edges) if j > i)


def write_tables(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of one schema as one file in constant memory, under a temporary name until it is whole."""
    with atomic_write(path) as temporary:
        writer: pq.ParquetWriter | None = None
        try:
            for table in tables:
                writer = writer or _open_writer(temporary, table.schema)
                writer.write_table(table, row_group_size=ROW_GROUP_SIZE)
        finally:
            if writer is not None:
                writer.close()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` at the end, or goes when something fails."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    nested = {name: f"{name}.list.element" for name in NODE_COLUMNS}
    floats = [nested.get(field.name, field.name) for field in schema if _is_float(field.type)]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=9,
        use_dictionary=list(_DICTIONARY_COLUMNS),  # type: ignore[arg-type]
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
    )


def _is_float(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type))
