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

from heatbath.record.about import About
from heatbath.record.columns import (
    CROSSED,
    DIVERGENCE,
    FIELD_ENERGY,
    KEPT_MASS,
    NODES,
    THERMO,
    WORK,
    Record,
    absent,
    concatenate,
)
from heatbath.record.observe import observe, observe_nodes, observe_state, record_of_state
from heatbath.record.observer import Frame, Observer
from heatbath.record.text import Speller, texts
from heatbath.record.trace import Trace

if TYPE_CHECKING:
    from heatbath.record.files import read, replacing, write
    from heatbath.record.writer import Writer

__all__ = [
    "CROSSED",
    "DIVERGENCE",
    "FIELD_ENERGY",
    "KEPT_MASS",
    "NODES",
    "THERMO",
    "WORK",
    "About",
    "Frame",
    "Observer",
    "Record",
    "Speller",
    "Trace",
    "Writer",
    "absent",
    "concatenate",
    "observe",
    "observe_nodes",
    "observe_state",
    "read",
    "record_of_state",
    "replacing",
    "texts",
    "write",
]

_LATE = {"read": "files", "write": "files", "replacing": "files", "Writer": "writer"}


def __getattr__(name: str) -> Any:
    """Import what needs pyarrow when it is first asked for (PEP 562)."""
    if name not in _LATE:
        raise AttributeError(f"module 'heatbath.record' has no attribute {name!r}")
    return getattr(import_module(f"heatbath.record.{_LATE[name]}"), name)
