"""Figures say what was found, and what was not; axes have units; nothing of pyplot is touched."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from heatbath.pages.figure_format import figure_style, write_figure
from heatbath.phases.phase_map import PhaseMap
from heatbath.phases.report import critical_figures, figures

CRITICAL = list(critical_figures.FIGURES)


def _texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return " | ".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))


def test_every_figure_is_there_as_png_and_svg(chart: PhaseMap, written: Path) -> None:
    names = ["overview", *(figures.figure_name(curve) for curve in chart.curves), *CRITICAL]
    assert sorted(path.name for path in (written / "figures").iterdir()) == sorted(
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    )
    for path in (written / "figures").glob("*.png"):
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size < 400_000
    for path in (written / "figures").glob("*.svg"):
        ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert path.stat().st_size < 150_000
        assert "<text" in path.read_text(encoding="utf-8"), "text stays text"


def test_pyplot_is_not_imported(chart: PhaseMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # an import of it now fails
    figures.plot_overview(chart)


def test_the_overview_says_what_was_found(chart: PhaseMap) -> None:
    said = _texts(figures.plot_overview(chart))
    for words in ("0.45 (0.40 to 0.51)", "0.51 to 1.03", "1.08 (1.03 to 1.14)", "0.90 (0.80 to 1.00)"):
        assert words in said
    assert said.count("no edge found") == 1, "order was looked for and not found"
    assert "second half of the text" in said and "nats per token" in said and "temperature T" in said


def test_the_overview_says_what_was_not_found(edgeless: PhaseMap) -> None:
    figure = figures.plot_overview(edgeless)
    said = _texts(figure)
    assert said.count("no edge found") == 2
    assert "no range to recommend" in said and "no turning point found" in said
    assert len(_shaded(figure.axes[1])) == 0


def _shaded(axis: object) -> list[tuple[float, float]]:
    from matplotlib.patches import Rectangle

    found = [patch for patch in axis.patches if isinstance(patch, Rectangle)]  # type: ignore[attr-defined]
    return sorted((round(p.get_x(), 6), round(p.get_x() + p.get_width(), 6)) for p in found)


def test_what_is_shaded_are_the_intervals(chart: PhaseMap) -> None:
    for axis in figures.plot_overview(chart).axes[1:]:
        assert _shaded(axis) == [(0.40, 0.51), (0.51, 1.03), (1.03, 1.14)]


def test_a_curve_has_its_band_its_points_and_its_response(chart: PhaseMap) -> None:
    curve = chart["entropy"]
    figure = figures.plot_observable(chart, curve)
    _, above, below = figure.axes
    for axis, value, points in ((above, curve.value, curve.points.value), (below, curve.response, curve.points.slope)):
        drawn = [line.get_ydata() for line in axis.lines]
        assert any(len(y) == len(value) and np.array_equal(y, value) for y in drawn)
        assert any(len(y) == len(points) and np.array_equal(y, points) for y in drawn)
        assert axis.get_ylabel()
    assert "response to temperature, nats per token, per unit of T" in _texts(figure)


def test_one_wild_point_does_not_flatten_a_response(chart: PhaseMap) -> None:
    curve = chart["entropy"]
    wild = curve.points.slope.copy()
    wild[-1] = 1e6
    figure = figures.plot_observable(chart, replace(curve, points=replace(curve.points, slope=wild)))
    assert figure.axes[2].get_ylim()[1] < 50


def test_a_response_far_off_is_marked_at_the_border(chart: PhaseMap) -> None:
    curve = chart["entropy"]
    wild = curve.points.slope.copy()
    wild[-1] = 1e6
    axis = figures.plot_observable(chart, replace(curve, points=replace(curve.points, slope=wild))).axes[2]
    markers = [line for line in axis.lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert [(x, y) for line in markers for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)] == [
        (curve.points.x[-1], axis.get_ylim()[1])
    ]


@pytest.mark.parametrize("outlier", [3.0, -2.0])
def test_the_axis_of_values_holds_all_points_with_their_bars(chart: PhaseMap, outlier: float) -> None:
    curve = chart["loop fraction"]
    value, interval = curve.points.value.copy(), curve.point_interval.copy()
    value[4], interval[:, 4] = outlier, (outlier - 1, outlier + 1)
    moved = replace(curve, points=replace(curve.points, value=value), point_interval=interval)
    low, high = figures.plot_observable(chart, moved).axes[1].get_ylim()
    assert low < interval.min() and high > interval.max() and low < curve.band.min() and high > curve.band.max()


def test_a_curve_without_a_spread_is_drawn_with_its_points(chart: PhaseMap) -> None:
    """A curve that is nearly constant, with points that are not."""
    curve = chart["loop fraction"]
    flat = np.full_like(curve.value, 0.0188)
    points = replace(curve.points, value=np.linspace(0.1, 0.0, len(curve.points.x)))
    drawn = replace(curve, value=flat, band=np.stack([flat - 1e-6, flat + 1e-6]), points=points)
    low, high = figures.plot_observable(chart, drawn).axes[1].get_ylim()
    assert low < 0 and high > 0.1


@pytest.mark.parametrize("name", CRITICAL)
def test_critical_figures_label_their_axes(chart: PhaseMap, name: str) -> None:
    found = chart.criticality
    assert found is not None
    figure = critical_figures.FIGURES[name](chart, found)
    assert all(axis.get_ylabel() for axis in figure.axes)
    assert figure.axes[len(figure.axes) - 1 if name != "critical-spectrum" else 0].get_xlabel()
    if name not in ("critical-correlation", "critical-spectrum"):
        assert "end of order: no edge found" in _texts(figure)


def test_the_end_of_order_is_marked(chart: PhaseMap) -> None:
    assert chart.criticality is not None
    edge = replace(chart.edge("melt"), name="order")
    figure = critical_figures.plot_exponents(chart, replace(chart.criticality, order=edge))
    assert "T_c = 1.08 (1.03 to 1.14)" in _texts(figure)
    assert _shaded(figure.axes[0]) == [(1.03, 1.14)]


def test_empty_and_missing_numbers_are_drawn_around(chart: PhaseMap, tmp_path: Path) -> None:
    found = chart.criticality
    assert found is not None
    nothing = replace(
        found,
        tau_within=np.full_like(found.tau_within, np.nan),
        correlation=-np.abs(found.correlation),
        spectrum=np.zeros_like(found.spectrum),
        gamma_flow=np.full_like(found.gamma_flow, np.nan),
    )
    for name in ("critical-growth", "critical-exponent", "critical-correlation", "critical-spectrum"):
        with figure_style(name):
            write_figure(critical_figures.FIGURES[name](chart, nothing), tmp_path, name)


def test_the_same_map_gives_the_same_file(chart: PhaseMap, written: Path, tmp_path: Path) -> None:
    with figure_style("overview"):
        write_figure(figures.plot_overview(chart), tmp_path, "overview")
    for kind in ("png", "svg"):
        name = f"overview.{kind}"
        assert (tmp_path / name).read_bytes() == (written / "figures" / name).read_bytes()
