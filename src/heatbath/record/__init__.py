"""Records of decoding steps, traces of sequences, and their Parquet files.

    observe(energies, tokens, beta=…)   the record of a batch of ensembles
    Trace                               the records of one sequence, evaluated at any temperature
    Observer, Frame                     a callback on every step of a run
    TraceWriter                         resumable writing of long traces to Parquet

pyarrow is imported only when a table or a file is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from heatbath.record.detokenize import Utf8Decoder, decode_pieces
from heatbath.record.observe import observe, observe_nodes, observe_state, record_from_state
from heatbath.record.observer import Frame, Observer
from heatbath.record.provenance import Provenance
from heatbath.record.record import (
    CROSSED_PREFIX,
    DIVERGENCE_PREFIX,
    ENERGY_COLUMNS,
    FIELD_ENERGY_PREFIX,
    KEPT_MASS_PREFIX,
    NODE_COLUMNS,
    THERMO_COLUMNS,
    UNIFORM_COLUMNS,
    WORK_PREFIX,
    Record,
    build_missing_record,
    concatenate,
)
from heatbath.record.trace import Trace, read_traces, write_traces

if TYPE_CHECKING:
    from heatbath.record.output_files import atomic_write
    from heatbath.record.parquet_writer import TraceWriter

__all__ = [
    "CROSSED_PREFIX",
    "DIVERGENCE_PREFIX",
    "ENERGY_COLUMNS",
    "FIELD_ENERGY_PREFIX",
    "KEPT_MASS_PREFIX",
    "NODE_COLUMNS",
    "THERMO_COLUMNS",
    "UNIFORM_COLUMNS",
    "WORK_PREFIX",
    "Frame",
    "Observer",
    "Provenance",
    "Record",
    "Trace",
    "TraceWriter",
    "Utf8Decoder",
    "atomic_write",
    "build_missing_record",
    "concatenate",
    "decode_pieces",
    "observe",
    "observe_nodes",
    "observe_state",
    "read_traces",
    "record_from_state",
    "write_traces",
]

_LAZY_IMPORTS = {"atomic_write": "output_files", "TraceWriter": "parquet_writer"}


def __getattr__(name: str) -> Any:
    """Import a module that needs pyarrow on first access (PEP 562)."""
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module 'heatbath.record' has no attribute {name!r}")
    return getattr(import_module(f"heatbath.record.{_LAZY_IMPORTS[name]}"), name)
