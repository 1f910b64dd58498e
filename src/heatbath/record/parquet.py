"""Arrow tables as Parquet files, replaced atomically."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from heatbath.errors import BadInput
from heatbath.record.record import NODE_COLUMNS

ROW_GROUP_SIZE = 16_384
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
    """Write tables of one schema to one file in constant memory; an error leaves no partial file."""
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
    """Yield a temporary path beside `path`, which replaces `path` at the end or is removed on an error."""
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
