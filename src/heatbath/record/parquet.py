"""Arrow tables as Parquet files, written whole or not at all, and marked with the run that they are part of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from heatbath.errors import BadInput
from heatbath.record.output_files import atomic_write, validate_suffix
from heatbath.record.record import NODE_COLUMNS

ROW_GROUP_SIZE = 16_384
_RUN_KEY = b"heatbath-run"
_DICTIONARY_COLUMNS = ("token_id", "text", "bytes", "sequence")


def read_table(path: str | Path) -> pa.Table:
    """Read a Parquet file as an Arrow table.

    Raises:
        BadInput: the file does not exist or is not Parquet.
    """
    try:
        return pq.read_table(path)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path} cannot be read as Parquet: {error}") from error


def write_tables(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of one schema to one file in constant memory; an error leaves no partial file.

    Raises:
        BadInput: the name of the file has the suffix of another format.
    """
    validate_suffix(path, "Parquet")
    with atomic_write(path) as temporary:
        writer: pq.ParquetWriter | None = None
        try:
            for table in tables:
                writer = writer or _open_writer(temporary, table.schema)
                writer.write_table(table, row_group_size=ROW_GROUP_SIZE)
        finally:
            if writer is not None:
                writer.close()


def mark_run(table: pa.Table, run_id: str) -> pa.Table:
    """Return the table with a hash of `run_id` in its metadata."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _RUN_KEY: _hash_run(run_id)})


def remove_run_mark(table: pa.Table) -> pa.Table:
    """Return the table without the mark of `mark_run`."""
    metadata = dict(table.schema.metadata or {})
    metadata.pop(_RUN_KEY, None)
    return table.replace_schema_metadata(metadata)


def has_run_mark(path: Path, run_id: str) -> bool:
    """Return True if the file holds a table that `mark_run` marked with `run_id`.

    Raises:
        BadInput: the file cannot be read as Parquet.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid) as error:
        raise BadInput(f"{path} cannot be read as Parquet: {error}") from error
    return metadata.get(_RUN_KEY) == _hash_run(run_id)


def _hash_run(run_id: str) -> bytes:
    return hashlib.sha256(run_id.encode()).hexdigest().encode()


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
