"""What is written down: one record a step, one trace a sequence, Parquet on disk.

    observe(energies, tokens, beta=…)   the record of a batch of ensembles
    Trace                               the records of one sequence, and what they answer at any temperature
    Observer, Frame                     what may watch a run
    Writer                              long traces to Parquet, resumable

pyarrow is imported only when a table or a file is asked for.
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
    FIELD_ENERGY_PREFIX,
    KEPT_MASS_PREFIX,
    NODE_COLUMNS,
    THERMO_COLUMNS,
    WORK_PREFIX,
    Record,
    build_missing_record,
    concatenate,
)
from heatbath.record.trace import Trace

if TYPE_CHECKING:
    from heatbath.record.parquet import atomic_write, read_traces, write_traces
    from heatbath.record.parquet_writer import TraceWriter

__all__ = [
    "CROSSED_PREFIX",
    "DIVERGENCE_PREFIX",
    "FIELD_ENERGY_PREFIX",
    "KEPT_MASS_PREFIX",
    "NODE_COLUMNS",
    "THERMO_COLUMNS",
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

_LAZY_IMPORTS = {
    "read_traces": "parquet",
    "write_traces": "parquet",
    "atomic_write": "parquet",
    "TraceWriter": "parquet_writer",
}


def __getattr__(name: str) -> Any:
    """Import what needs pyarrow when it is first asked for (PEP 562)."""
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module 'heatbath.record' has no attribute {name!r}")
    return getattr(import_module(f"heatbath.record.{_LAZY_IMPORTS[name]}"), name)
