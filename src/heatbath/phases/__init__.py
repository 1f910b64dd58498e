"""Temperature sweeps: texts over a range of temperatures, observables with responses, edges, advice, a report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.phases.phase_map import PhaseMap
    from heatbath.phases.sampling import SweepPlan
    from heatbath.phases.temperature_sweep import AnalysisOptions, sweep

_HOME = {
    "AnalysisOptions": "temperature_sweep",
    "PhaseMap": "phase_map",
    "SweepPlan": "sampling",
    "sweep": "temperature_sweep",
}

__all__ = ["AnalysisOptions", "PhaseMap", "SweepPlan", "sweep"]


def __getattr__(name: str) -> Any:
    """Import the name's module when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'heatbath.phases' has no attribute {name!r}")
    return getattr(import_module(f"heatbath.phases.{_HOME[name]}"), name)
