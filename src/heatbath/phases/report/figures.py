"""The figures of a phase map: an overview, one per observable with its response, and the critical observables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from heatbath.pages.figure_format import figure_style, write_figure
from heatbath.phases.curves import Curve, title_and_unit
from heatbath.phases.phase_map_data import PhaseMapData
from heatbath.phases.report import critical_figures, plot_style

OVERVIEW_CURVES = ("loop fraction", "entropy", "heat capacity", "surprisal at T = 1")

DrawFigure = Callable[[], Figure]


def write_figures(map_: PhaseMapData, folder: Path) -> None:
    """Write all figures into a folder, as PNG and SVG."""
    for name, draw in _iterate_figures(map_):
        with figure_style(name):
            write_figure(draw(), folder, name)


def _iterate_figures(map_: PhaseMapData) -> Iterator[tuple[str, DrawFigure]]:
    yield "overview", lambda: plot_overview(map_)
    for curve in map_.curves:
        yield figure_name(curve), lambda curve=curve: plot_observable(map_, curve)  # type: ignore[misc]
    for name, draw in critical_figures.FIGURES.items() if map_.criticality else ():
        yield name, lambda draw=draw: draw(map_, map_.criticality)  # type: ignore[misc]


def figure_name(curve: Curve) -> str:
    """Return the file name, without suffix, of the figure of an observable."""
    slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in curve.name.lower())
    return "curve-" + "-".join(part for part in slug.split("-") if part)


def plot_overview(map_: PhaseMapData) -> Figure:
    """Plot loops, entropy, heat capacity and surprisal over temperature, with edges and the recommended range."""
    curves = [map_[name] for name in OVERVIEW_CURVES]
    lines = len(plot_style.collect_summary_rows(map_))
    figure, axes = plot_style.build_panels(len(curves) + 1, 9.0, [0.17 * lines, *[1.0] * len(curves)])
    plot_style.format_temperature_axis(axes, curves[0].temperature)
    plot_style.draw_summary_strip(axes[0], map_)
    axes[0].set_title(_format_headline(map_), pad=9, parse_math=False)
    for axis, curve in zip(axes[1:], curves, strict=True):
        plot_style.draw_curve(axis, curve)
        plot_style.mark_edges(axis, map_)
        title, unit = title_and_unit(curve.name)
        axis.set_title(title)
        axis.set_ylabel(unit)
    return figure


def _format_headline(map_: PhaseMapData) -> str:
    length = map_.budget.tokens // max(map_.budget.sequences, 1)
    tokens = f"{length} tokens on average" if map_.settings.get("allow_end") else f"{length} tokens"
    return f"{map_.model.model}: {map_.budget.sequences} texts of {tokens}, bands and bars at 95 %"


def plot_observable(map_: PhaseMapData, curve: Curve) -> Figure:
    """Plot one observable and, below, its response to temperature, measured from the same texts."""
    figure, axes = plot_style.build_panels(3, 5.2, [0.15 * len(plot_style.collect_summary_rows(map_)), 1.0, 0.8])
    plot_style.format_temperature_axis(axes, curve.temperature)
    plot_style.draw_summary_strip(axes[0], map_)
    title, unit = title_and_unit(curve.name)
    for axis, response in zip(axes[1:], (False, True), strict=True):
        plot_style.draw_curve(axis, curve, response=response)
        plot_style.mark_edges(axis, map_)
    axes[1].set_title(title, parse_math=False)
    axes[1].set_ylabel(unit)
    axes[2].set_title(f"Its response to temperature, {unit}, per unit of T")
    axes[2].set_ylabel("d⟨A⟩/dT")
    if np.nanmin(curve.response) < 0 < np.nanmax(curve.response):
        axes[2].axhline(0, color=plot_style.COLOURS["soft"], lw=0.8)
    return figure
