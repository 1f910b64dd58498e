"""Comparison of two models, precisions, quantisations, seeds or windows: paired texts, shared texts, and a report.

compare_models(Side(a), Side(b))     paired sampling at the same temperatures, from the same random streams
compare_maps(a, b)                   two phase maps of earlier sweeps, which are independent of one another
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.phases.comparison.comparison import Comparison
    from heatbath.phases.comparison.map_comparison import compare_maps
    from heatbath.phases.comparison.model_comparison import compare_models
    from heatbath.phases.comparison.paired_samples import ComparisonPlan, Side

_LAZY_IMPORTS = {
    "Comparison": "comparison",
    "ComparisonPlan": "paired_samples",
    "Side": "paired_samples",
    "compare_maps": "map_comparison",
    "compare_models": "model_comparison",
}

__all__ = ["Comparison", "ComparisonPlan", "Side", "compare_maps", "compare_models"]


def __getattr__(name: str) -> Any:
    """Import the module of a name on first access (PEP 562)."""
    if name not in _LAZY_IMPORTS:
        raise AttributeError(f"module 'heatbath.phases.comparison' has no attribute {name!r}")
    return getattr(import_module(f"heatbath.phases.comparison.{_LAZY_IMPORTS[name]}"), name)
