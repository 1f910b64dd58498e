"""Parts of the figures of a phase map: axes, curves with bands, and marked edges."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from heatbath.pages.figure_format import COLOURS, WIDTH
from heatbath.phases.curves import Curve
from heatbath.phases.edges import Edge
from heatbath.phases.phase_map_data import PhaseMapData
from heatbath.phases.report.verdicts import NO_EDGE, Z_95

__all__ = [
    "COLOURS",
    "WIDTH",
    "build_panels",
    "collect_summary_rows",
    "draw_curve",
    "draw_summary_strip",
    "format_row",
    "format_temperature_axis",
    "mark_edges",
    "sample_colours",
]

Floats = NDArray[np.float64]

_TOP, _BOTTOM, _GAP = 0.32, 0.48, 0.32
"""Inches around and between panels."""


def build_panels(rows: int, height: float, ratios: list[float] | None = None) -> tuple[Figure, list[Axes]]:
    """Create panels above one another with a common temperature axis, `height` inches in total."""
    figure = Figure(figsize=(WIDTH, height))
    # Fixed margins: a layout engine doubles the time per figure.
    inner = height - _TOP - _BOTTOM
    panel = (inner - (rows - 1) * _GAP) / rows
    grid = {"left": 0.134, "right": 0.98, "bottom": _BOTTOM / height, "top": 1 - _TOP / height, "hspace": _GAP / panel}
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False, height_ratios=ratios or [1.0] * rows, gridspec_kw=grid)[
        :, 0
    ]
    for axis in axes:
        axis.yaxis.set_label_coords(-0.078, 0.5)
    return figure, list(axes)


def format_temperature_axis(axes: list[Axes], x: Floats) -> None:
    """Label the temperature axis below the lowest panel."""
    margin = 0.012 * float(np.ptp(x))
    axes[-1].set_xlim(float(x.min()) - margin, float(x.max()) + margin)
    axes[-1].set_xlabel("temperature T")
    for axis in axes[:-1]:
        axis.tick_params(axis="x", length=0)


def draw_curve(axis: Axes, curve: Curve, *, response: bool = False) -> None:
    """Draw measured points with error bars, and the smooth curve with its band, both at 95 %.

    The axis of values holds all points. A response may have points far off the curve, which would flatten the rest:
    these are marked at the border of the axis.
    """
    p, colour, soft = curve.points, COLOURS["curve"], COLOURS["soft"]
    value, smooth = (p.slope, curve.response) if response else (p.value, curve.value)
    interval = _response_interval(p.slope, p.slope_stderr) if response else curve.point_interval
    band = _response_interval(smooth, curve.response_stderr) if response else curve.band
    bars = np.abs(interval - value)
    axis.errorbar(p.x, value, bars, fmt="o", ms=2.4, lw=0.7, color=soft, alpha=0.55, mew=0)
    axis.fill_between(curve.temperature, *band, color=colour, alpha=0.22, lw=0)
    axis.plot(curve.temperature, smooth, color=colour)
    limits = _response_limits(smooth, value) if response else _limits_of_all(smooth, *band, value, *interval)
    axis.set_ylim(*limits)
    for border, marker, outside in ((limits[0], "v", value < limits[0]), (limits[1], "^", value > limits[1])):
        axis.plot(p.x[outside], np.full(int(outside.sum()), border), marker, ms=4, color=soft, clip_on=False)


def _response_interval(value: Floats, stderr: Floats) -> Floats:
    return np.stack([value - Z_95 * stderr, value + Z_95 * stderr])


def _limits_of_all(*columns: Floats) -> tuple[float, float]:
    """Return limits that show everything, with a margin."""
    finite = np.concatenate(columns)
    finite = finite[np.isfinite(finite)]
    return _add_margin(float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)


def _response_limits(smooth: Floats, value: Floats) -> tuple[float, float]:
    """Return limits that show the curve and nearly all points, so that an outlier does not flatten the rest."""
    curve = smooth[np.isfinite(smooth)]
    if not len(curve):
        return 0.0, 1.0
    low, high = float(curve.min()), float(curve.max())
    far = 0.6 * (high - low)
    near = value[np.isfinite(value)].clip(low - far, high + far)
    return _add_margin(min(low, *near), max(high, *near))


def _add_margin(low: float, high: float) -> tuple[float, float]:
    margin = 0.08 * (high - low) or 0.1 * max(abs(high), 1.0)
    return low - margin, high + margin


def mark_edges(axis: Axes, map_: PhaseMapData) -> None:
    """Shade the intervals of the edges and the recommended range, and mark the edges and the point of TURN."""
    for edge in map_.edges:
        if edge.interval is not None:
            axis.axvspan(*edge.interval, color=COLOURS[edge.name], alpha=0.16, lw=0, zorder=0.5)
        if edge.temperature is not None:
            axis.axvline(edge.temperature, color=COLOURS[edge.name], lw=1.1, zorder=1.5)
    if map_.advice.range is not None:
        axis.axvspan(*map_.advice.range, color=COLOURS["use"], alpha=0.1, lw=0, zorder=0.4)
    if map_.turn.temperature is not None:
        axis.axvline(map_.turn.temperature, color=COLOURS["turn"], lw=1.0, ls=(0, (4, 3)), zorder=1.4)


def collect_summary_rows(map_: PhaseMapData) -> dict[str, tuple[str, float | None, tuple[float, float] | None]]:
    """Return the rows of the strip above a figure, by colour: label, temperature and interval."""
    edges = {edge.name: edge for edge in map_.edges}
    rows: dict[str, tuple[str, float | None, tuple[float, float] | None]] = {"freeze": _edge_row(edges["freeze"])}
    rows["use"] = ("recommended", None, map_.advice.range)
    rows["melt"] = _edge_row(edges["melt"])
    if "order" in edges:
        rows["order"] = ("end of order", *_edge_row(edges["order"])[1:])
    rows["turn"] = ("TURN (baseline)", map_.turn.temperature, map_.turn.interval)
    return rows


def _edge_row(edge: Edge) -> tuple[str, float | None, tuple[float, float] | None]:
    return edge.name, edge.temperature, edge.interval


def draw_summary_strip(axis: Axes, map_: PhaseMapData) -> None:
    """Draw edges, range and the point of TURN with their intervals, one row each, with their numbers in words."""
    rows = collect_summary_rows(map_)
    for y, (colour, (_, temperature, interval)) in enumerate(rows.items()):
        if interval is not None:
            axis.plot(interval, (y, y), color=COLOURS[colour], lw=5, solid_capstyle="butt", alpha=0.85)
        if temperature is not None:
            face = COLOURS["paper"] if interval else COLOURS[colour]
            axis.plot(temperature, y, "o", ms=5, color=face, mec=COLOURS[colour], mew=1.4, zorder=3)
        _draw_row_text(axis, y, temperature, interval, colour)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_yticks(range(len(rows)), [label for label, *_ in rows.values()])
    for tick, colour in zip(axis.get_yticklabels(), rows, strict=True):
        tick.set_color(COLOURS[colour])
    axis.tick_params(axis="y", length=0)
    axis.grid(False)
    axis.spines[["left", "bottom"]].set_visible(False)


def _draw_row_text(
    axis: Axes, y: int, temperature: float | None, interval: tuple[float, float] | None, colour: str
) -> None:
    positions = [*(interval or ()), *([] if temperature is None else [temperature])]
    low, high = axis.get_xlim()
    words = format_row(colour, temperature, interval)
    if not positions:
        axis.text(0.5, y, words, va="center", ha="center", color=COLOURS["soft"], transform=axis.get_yaxis_transform())
        return
    right = high - max(positions) >= min(positions) - low
    place = max(positions) + 0.015 * (high - low) if right else min(positions) - 0.015 * (high - low)
    axis.text(place, y, words, va="center", ha="left" if right else "right")


def format_row(colour: str, temperature: float | None, interval: tuple[float, float] | None) -> str:
    """Format a row of the strip in words."""
    span = "" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
    if colour == "use":
        return span or "no range to recommend"
    if temperature is None:
        missing = "no turning point found" if colour == "turn" else NO_EDGE
        return f"between {interval[0]:.2f} and {interval[1]:.2f}" if interval else missing
    return f"{temperature:.2f} ({span})" if span else f"{temperature:.2f} (no interval)"


HEAT_COLORMAP: Colormap = LinearSegmentedColormap.from_list(
    "heat", ["#2a7ab9", "#6f86b8", "#a98a9a", "#d1552c", "#e79b2f"]
)
"""Colours of temperatures, cold to hot."""
SIZE_COLORMAP: Colormap = LinearSegmentedColormap.from_list("sizes", ["#7cc4b4", "#3f95a8", "#5a6fb0", "#8a4a9e"])
"""Colours of text lengths, short to long."""


def sample_colours(colormap: Colormap, count: int) -> list[Any]:
    """Return `count` colours, evenly spaced along a colormap."""
    return [colormap(i) for i in np.linspace(0, 1, max(count, 2))[:count]]
