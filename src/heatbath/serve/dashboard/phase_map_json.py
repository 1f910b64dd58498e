"""A phase map as the page draws it."""

from __future__ import annotations

from typing import Any

from heatbath.phases import PhaseMap
from heatbath.phases.curves import title_and_unit
from heatbath.serve.dashboard.serializers import to_json_values


def phase_map_to_json(map_: PhaseMap) -> dict[str, Any]:
    """Curves with bands and points, edges with intervals, and the recommended range."""
    curves = []
    for curve in map_.curves:
        title, unit = title_and_unit(curve.name)
        points = {"x": curve.points.x, "value": curve.points.value}
        columns = {"temperature": curve.temperature, "value": curve.value, "stderr": curve.stderr, "points": points}
        curves.append({"name": curve.name, "title": title, "unit": unit, **to_json_values(columns)})
    edges = [{name: to_json_values(getattr(edge, name)) for name in _EDGE_FIELDS} for edge in map_.edges]
    advice = map_.advice
    return {"curves": curves, "edges": edges, "range": to_json_values(advice.range), "reason": advice.reason}


_EDGE_FIELDS = ("name", "temperature", "interval", "verdict")
