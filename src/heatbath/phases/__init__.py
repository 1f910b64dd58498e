"""Temperature sweeps: curves of observables over temperature, freeze and melt edges, advice, and a report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.phases.comparison import Comparison, ComparisonPlan, Side, compare_maps, compare_models
    from heatbath.phases.phase_map import PhaseMap
    from heatbath.phases.sampling import SweepPlan
    from heatbath.phases.temperature_sweep import AnalysisOptions, sweep

_LAZY_IMPORTS = {
    "AnalysisOptions": "temperature_sweep",
    "Comparison": "comparison",
    "ComparisonPlan": "comparison",
    "PhaseMap": "phase_map",
    "Side": "comparison",
    "SweepPlan": "sampling",
    "compare_maps": "comparison",
    "compare_models": "comparison",
    "sweep": "temperature_sweep",
}

__all__ = [
    "AnalysisOptions",
    "Comparison",
    "ComparisonPlan",
    "PhaseMap",
    "Side",
    "SweepPlan",
    "compare_maps",
    "compare_models",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """Import the module of a name on first access (PEP 562)."""
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module 'heatbath.phases' has no attribute {name!r}")
    return getattr(import_module(f"heatbath.phases.{_LAZY_IMPORTS[name]}"), name)
