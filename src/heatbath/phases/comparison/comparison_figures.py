"""The figures of a comparison: both sides of an observable, and below or beside them the difference B − A."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from heatbath.phases.comparison.comparison_data import ComparisonData, DifferenceCurve
from heatbath.phases.curves import title_and_unit
from heatbath.phases.report import plot_style
from heatbath.phases.report.figures import OVERVIEW_CURVES
from heatbath.phases.report.verdicts import Z_95

Floats = NDArray[np.float64]

_MARGIN = 0.06
"""Share of the range of an axis that is left free above and below."""


def plot_comparison_overview(comparison: ComparisonData) -> Figure:
    """Plot the sides on the left and B − A on the right, for loops, entropy, heat capacity and surprisal."""
    names = {curve.name for curve in comparison.curves}
    curves = [comparison[name] for name in OVERVIEW_CURVES if name in names] or list(comparison.curves[:4])
    figure = Figure(figsize=(plot_style.WIDTH, 2.05 * len(curves) + 0.5))
    axes = figure.subplots(len(curves), 2, sharex=True, squeeze=False)
    height = figure.get_figheight()
    figure.subplots_adjust(0.09, 0.5 / height, 0.985, 1 - 0.38 / height, wspace=0.24, hspace=0.42)
    for (left, right), curve in zip(axes, curves, strict=True):
        draw_sides(left, curve)
        draw_difference(right, curve)
        title, unit = title_and_unit(curve.name)
        left.set_title(_shorten_title(title), parse_math=False)
        left.set_ylabel(unit)
        right.set_title("B − A")
    _mark_edges(axes[:, 0], comparison)
    for axis in axes[-1]:
        axis.set_xlabel("temperature T")
    axes[0, 0].legend(loc="best")
    return figure


def plot_comparison_curve(curve: DifferenceCurve) -> Figure:
    """Plot one observable of both sides and, below, the difference."""
    figure, axes = plot_style.build_panels(2, 4.6)
    plot_style.format_temperature_axis(axes, curve.temperature)
    draw_sides(axes[0], curve)
    draw_difference(axes[1], curve)
    title, unit = title_and_unit(curve.name)
    axes[0].set_title(title, parse_math=False)
    axes[0].set_ylabel(unit)
    axes[0].legend(loc="best")
    axes[1].set_title("B − A with its 95 % interval; filled points differ from 0 when all are tested together")
    axes[1].set_ylabel(unit)
    return figure


def draw_sides(axis: Axes, curve: DifferenceCurve) -> None:
    """Draw both sides with their 95 % bars, a little apart so that neither hides the other."""
    shift = 0.006 * float(np.ptp(curve.temperature))
    sides = (("a", "A", curve.a, curve.a_stderr, -shift), ("b", "B", curve.b, curve.b_stderr, shift))
    for colour, label, value, stderr, offset in sides:
        error = np.stack([Z_95 * stderr] * 2)
        if title_and_unit(curve.name)[1].startswith("share"):
            error = np.minimum(error, np.stack([value, 1 - value])).clip(0)
        axis.errorbar(
            curve.temperature + offset, value, error, color=plot_style.COLOURS[colour], label=label,
            fmt="-o" if label == "A" else "-s", ms=3, lw=1.2, elinewidth=0.9, mew=0,
        )  # fmt: skip


def draw_difference(axis: Axes, curve: DifferenceCurve) -> None:
    """Draw the difference with its 95 % interval; points that differ when tested together are filled."""
    ink = plot_style.COLOURS["ink"]
    axis.axhline(0, color=plot_style.COLOURS["soft"], lw=0.9)
    axis.vlines(curve.temperature, curve.low, curve.high, color=ink, lw=1.1)
    differs = curve.significant_mask
    for mask, face in ((differs, ink), (~differs, plot_style.COLOURS["paper"])):
        axis.plot(curve.temperature[mask], curve.difference[mask], "o", ms=4, color=face, mec=ink, mew=1.0, zorder=3)
    low, high = float(np.nanmin(curve.low)), float(np.nanmax(curve.high))
    low, high = min(low, 0.0), max(high, 0.0)
    margin = _MARGIN * (high - low) or 1e-3
    axis.set_ylim(low - margin, high + margin)


def _mark_edges(axes: NDArray[np.object_], comparison: ComparisonData) -> None:
    """Shade the intervals of the edges of each side."""
    for edge in comparison.edges:
        for colour, side in (("a", edge.a), ("b", edge.b)):
            if side.interval is not None:
                for axis in axes:
                    axis.axvspan(*side.interval, color=plot_style.COLOURS[colour], alpha=0.07, lw=0, zorder=0.4)


def _shorten_title(title: str) -> str:
    """Return a title for half a figure."""
    return title.split(":")[0].split(", second half")[0]
