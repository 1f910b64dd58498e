"""A phase map as the page draws it."""

from __future__ import annotations

from typing import Any

from heatbath.phases import PhaseMap
from heatbath.phases.titles import titles
from heatbath.serve.page.rows import plain


def chart(map_: PhaseMap) -> dict[str, Any]:
    """Curves with bands and points, edges with intervals, and the recommended range."""
    curves = []
    for curve in map_.curves:
        title, unit = titles(curve.name)
        points = {"x": curve.points.x, "value": curve.points.value}
        columns = {"temperature": curve.temperature, "value": curve.value, "stderr": curve.stderr, "points": points}
        curves.append({"name": curve.name, "title": title, "unit": unit, **plain(columns)})
    edges = [{name: plain(getattr(edge, name)) for name in _EDGE} for edge in map_.edges]
    advice = map_.advice
    return {"curves": curves, "edges": edges, "range": plain(advice.range), "reason": advice.reason}


_EDGE = ("name", "temperature", "interval", "verdict")
