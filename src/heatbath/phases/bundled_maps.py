"""Phase maps that come with heatbath, by the fingerprint of their model."""

from __future__ import annotations

from pathlib import Path

from heatbath.models.hub import catalog
from heatbath.phases.phase_map import PhaseMap

_FOLDER = Path(__file__).parent / "maps"


def load_bundled_map(name: str, fingerprint: str) -> PhaseMap | None:
    """The map of a catalog model as `heatbath sweep` made it; None where there is none of exactly these weights."""
    path = _FOLDER / f"{name}.json"
    if name not in catalog.CATALOG or not path.is_file():
        return None
    chart = PhaseMap.load(path)
    return chart if chart.model.fingerprint == fingerprint else None
