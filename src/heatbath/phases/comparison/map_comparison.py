"""`compare_maps`: differences between two phase maps of earlier sweeps, which are independent of one another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from heatbath.errors import BadInput
from heatbath.estimate.paired_differences import CONFIDENCE_LEVEL
from heatbath.phases.comparison.comparison import Comparison
from heatbath.phases.comparison.comparison_data import DifferenceCurve, SideSummary
from heatbath.phases.comparison.edge_differences import compare_independent_edges
from heatbath.phases.curves import Curve
from heatbath.phases.phase_map_data import PhaseMapData

Floats = NDArray[np.float64]

GRID_SIZE = 17
IGNORED_SETTINGS = ("seed", "sequences", "batch", "anchors")
"""Settings of a sweep that change its precision, and not what is measured."""
_Z = float(ndtri(0.5 + CONFIDENCE_LEVEL / 2))


def compare_maps(a: PhaseMapData, b: PhaseMapData, labels: tuple[str, str] | None = None) -> Comparison:
    """Compare two phase maps, B − A, over the temperatures that both cover.

    The sweeps share no random numbers, so their errors add as independent ones; `compare_models` is more precise.

    Raises:
        BadInput: the texts differ in length, no temperature or no observable is common.
    """
    length_a, length_b = (map_.settings.get("length") for map_ in (a, b))
    if length_a != length_b:
        raise BadInput(
            f"both sweeps must have texts of one length, got {length_a} and {length_b} tokens: loops, repetition and "
            "edges depend on it; sweep one of them again with --length."
        )
    grid = _common_grid(a, b)
    names = [curve.name for curve in a.curves if any(curve.name == other.name for other in b.curves)]
    if not names:
        raise BadInput("the maps have no observable in common.")
    edges = {edge.name: edge for edge in b.edges}
    names_a, names_b = labels or _build_labels(a, b)
    return Comparison(
        a=SideSummary(names_a, a.model, a.settings),
        b=SideSummary(names_b, b.model, b.settings),
        settings={"length": length_a, "low": float(grid[0]), "high": float(grid[-1])},
        pairing=None,
        curves=[_subtract_curves(a[name], b[name], grid) for name in names],
        edges=[compare_independent_edges(edge, edges[edge.name]) for edge in a.edges if edge.name in edges],
        texts=None,
        notes=_build_notes(a, b),
    )


def _build_labels(a: PhaseMapData, b: PhaseMapData) -> tuple[str, str]:
    if a.model.model != b.model.model:
        return a.model.model, b.model.model
    return f"{a.model.model} (A)", f"{b.model.model} (B)"


def _common_grid(a: PhaseMapData, b: PhaseMapData) -> Floats:
    ranges = [map_.curves[0].temperature for map_ in (a, b)]
    low, high = max(float(t.min()) for t in ranges), min(float(t.max()) for t in ranges)
    if not low < high:
        raise BadInput(f"the sweeps have no temperatures in common: one begins at {low:g}, the other ends at {high:g}.")
    return np.linspace(low, high, GRID_SIZE)


def _subtract_curves(a: Curve, b: Curve, grid: Floats) -> DifferenceCurve:
    value_a, value_b = (np.interp(grid, curve.temperature, curve.value) for curve in (a, b))
    stderr_a, stderr_b = (np.interp(grid, curve.temperature, curve.stderr) for curve in (a, b))
    difference, stderr = value_b - value_a, np.hypot(stderr_a, stderr_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(difference == 0, 0.0, np.abs(difference) / stderr)
    p_value = 2 * ndtr(-z)
    return DifferenceCurve(
        name=a.name,
        temperature=grid,
        a=value_a,
        a_stderr=stderr_a,
        b=value_b,
        b_stderr=stderr_b,
        difference=difference,
        low=difference - _Z * stderr,
        high=difference + _Z * stderr,
        p_value=p_value,
    )


def _build_notes(a: PhaseMapData, b: PhaseMapData) -> list[str]:
    notes = ["The sides are independent sweeps: no noise cancels. Give two models for a paired comparison."]
    differing = [
        f"{name} ({_format_setting(a.settings.get(name))} and {_format_setting(b.settings.get(name))})"
        for name in dict.fromkeys([*a.settings, *b.settings])
        if name not in IGNORED_SETTINGS and a.settings.get(name) != b.settings.get(name)
    ]
    if differing:
        notes.append(f"The sweeps differ in more than the model: {', '.join(differing)}.")
    if a.model.model != b.model.model:
        notes.append("If the vocabularies differ, quantities per token are per token of each model's own.")
    return notes


def _format_setting(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
