"""The Arrow schema of a trace: column types, nulls and metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import pyarrow as pa

from heatbath.ensemble import NODE_BETAS
from heatbath.errors import BadInput
from heatbath.record.provenance import Provenance
from heatbath.record.record import NODE_COLUMNS, PIPELINE_ORDER, Array, Record

SCHEMA_VERSION = 1
_METADATA_KEY = b"heatbath"
_NODE_TYPE = pa.list_(pa.float32(), len(NODE_BETAS))
_COLUMN_TYPES: dict[str, pa.DataType] = {
    "sequence": pa.int32(),
    "position": pa.int32(),
    "token_id": pa.int32(),
    "text": pa.string(),
    "bytes": pa.binary(),
    "energy": pa.float64(),
    "logprob": pa.float64(),
    "log_z": pa.float64(),
    "mean_energy": pa.float64(),
    "variance": pa.float32(),
    "entropy": pa.float32(),
    "heat_capacity": pa.float32(),
    "ground": pa.float64(),
    "p_max": pa.float32(),
    "rank": pa.int32(),
    "temperature": pa.float64(),
    **dict.fromkeys(NODE_COLUMNS, _NODE_TYPE),
}
"""Gauge-dependent and additive columns are float64, and so are those of fields and windows; others are float32."""


def build_metadata(provenance: Provenance, **more: Any) -> dict[bytes, bytes]:
    """Return the metadata of a file: schema version, node betas, pipeline order and provenance."""
    fixed = {"schema": SCHEMA_VERSION, "node_betas": NODE_BETAS.tolist(), "order": PIPELINE_ORDER}
    content = {**fixed, **asdict(provenance), **more}
    return {_METADATA_KEY: json.dumps(content, sort_keys=True).encode()}


def read_metadata(schema: pa.Schema, path: object) -> dict[str, Any]:
    """Return the metadata that `build_metadata` wrote.

    Raises:
        BadInput: the file holds no traces, or those of another schema version or of other nodes.
    """
    raw = (schema.metadata or {}).get(_METADATA_KEY)
    if raw is None:
        raise BadInput(f"{path} holds no heatbath trace: write one with `heatbath measure --out`.")
    content: dict[str, Any] = json.loads(raw)
    if content["schema"] != SCHEMA_VERSION:
        raise BadInput(
            f"{path} has trace schema {content['schema']}, expected {SCHEMA_VERSION}: measure the text again."
        )
    if not np.allclose(content["node_betas"], NODE_BETAS, rtol=1e-12):
        raise BadInput(f"{path} stores log_z at other temperatures than this heatbath: measure the text again.")
    return content


def parse_provenance(content: Mapping[str, Any]) -> Provenance:
    """Return the provenance in a file's metadata."""
    return Provenance(content["model"], content["fingerprint"], content["version"])


def build_arrow_column(name: str, column: Array, missing: Array) -> pa.Array[Any]:
    """Convert a column of a record to Arrow, null where `missing` (n,)."""
    kind = _COLUMN_TYPES.get(name, pa.float64())
    if name in NODE_COLUMNS:
        return _build_node_column(column, missing)
    if pa.types.is_integer(kind):
        column = np.where(missing, 0, column)
    return pa.array(column, mask=missing).cast(kind, safe=False)


def _build_node_column(column: Array, missing: Array) -> pa.Array[Any]:
    flat = np.where(missing[:, None], 0.0, column).astype(np.float32).ravel()
    build: Any = pa.FixedSizeListArray.from_arrays
    return cast("pa.Array[Any]", build(pa.array(flat), type=_NODE_TYPE, mask=pa.array(missing)))


def build_label_columns(columns: Mapping[str, Sequence[Any] | Array]) -> dict[str, pa.Array[Any]]:
    """Convert the columns that identify a token; they are never null."""
    return {name: pa.array(column, _COLUMN_TYPES[name]) for name, column in columns.items()}


def record_from_table(table: pa.Table) -> Record:
    """Return the record in a table of traces, NaN for null."""
    names = [name for name in table.column_names if name not in ("sequence", "position", "token_id", "text", "bytes")]
    return Record({name: _read_column(table[name].combine_chunks(), name) for name in names})


def _read_column(column: pa.Array[Any], name: str) -> Array:
    if name not in NODE_COLUMNS:
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    missing = column.is_null().to_numpy(zero_copy_only=False)
    lists: Any = column.fill_null([0.0] * len(NODE_BETAS))
    flat = lists.flatten().to_numpy().reshape(len(column), -1).copy()
    flat[missing] = np.nan
    return np.asarray(flat)
