"""Figures of the critical observables: growth of tau with length, correlation, spectrum and relaxation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from heatbath.phases.critical import Criticality
from heatbath.phases.phase_map_data import PhaseMapData
from heatbath.phases.report import plot_style
from heatbath.phases.report.verdicts import Z_95, format_disagreement

Floats = NDArray[np.float64]

NUM_LINES = 6
"""Number of temperatures in a figure with one line per temperature."""


def _mark_order(axis: Axes, criticality: Criticality) -> None:
    """Mark the end of order, or state that no edge was found."""
    edge = criticality.order
    words = "end of order: no edge found"
    if edge.interval is not None:
        axis.axvspan(*edge.interval, color=plot_style.COLOURS["order"], alpha=0.16, lw=0, zorder=0.5)
        words = f"T_c between {format_disagreement(edge.interval)}"
    if edge.temperature is not None and edge.interval is not None:
        axis.axvline(edge.temperature, color=plot_style.COLOURS["order"], lw=1.1)
        words = f"T_c = {edge.temperature:.2f} ({edge.interval[0]:.2f} to {edge.interval[1]:.2f})"
    axis.set_title(words, loc="right", color=plot_style.COLOURS["order"], fontweight="normal", fontsize=8.5)


def _tags_label(criticality: Criticality) -> str:
    return f"{criticality.tags} tags" if criticality.tags != "auto" else "tags"


def plot_growth(map_: PhaseMapData, criticality: Criticality) -> Figure:
    """Plot tau(N) over temperature, of all texts and within each text, for growing N."""
    figure, axes = plot_style.build_panels(2, 6.4)
    plot_style.format_temperature_axis(axes, criticality.temperature)
    kinds = [
        ("Susceptibility τ(N), all texts", criticality.tau),
        ("Susceptibility τ(N), within each text", criticality.tau_within),
    ]
    for axis, (title, tau) in zip(axes, kinds, strict=True):
        for i, colour in enumerate(plot_style.sample_colours(plot_style.SIZE_COLORMAP, len(criticality.sizes))):
            _plot_size(axis, criticality, i, (tau, colour))
        _set_log_scale(axis, tau)
        axis.set_title(title)
        axis.set_ylabel(f"{_tags_label(criticality)}")
    _mark_order(axes[0], criticality)
    axes[0].legend(title="length N in tags", ncols=4, loc="best", title_fontsize=8)
    return figure


def _set_log_scale(axis: Axes, value: Floats) -> None:
    """Set a logarithmic scale if any value is positive."""
    if (value > 0).any():
        axis.set_yscale("log")
        axis.yaxis.set_minor_formatter(NullFormatter())


def _plot_size(axis: Axes, criticality: Criticality, i: int, tau_and_colour: tuple[Floats, tuple[float, ...]]) -> None:
    tau, colour = tau_and_colour
    visible = np.where(tau[:, i] > 0, tau[:, i], np.nan)
    axis.plot(criticality.temperature, visible, "-o", ms=3, lw=1.3, color=colour, label=f"{criticality.sizes[i]}")
    if tau is criticality.tau:
        error = Z_95 * criticality.tau_stderr[:, i]
        low = np.maximum(visible - error, 0.02 * visible)
        axis.fill_between(criticality.temperature, low, visible + error, color=colour, alpha=0.15, lw=0)


def plot_exponents(map_: PhaseMapData, criticality: Criticality) -> Figure:
    """Plot the growth exponent of tau over the last doubling, and its limit for infinitely long text."""
    figure, axes = plot_style.build_panels(1, 3.9)
    axis = axes[0]
    plot_style.format_temperature_axis(axes, criticality.temperature)
    for level, side, words in ((1.0, "right", "1: as with lasting order"), (0.0, "left", "0: as with a short memory")):
        axis.axhline(level, color=plot_style.COLOURS["soft"], lw=0.9, ls=(0, (2, 2)))
        place = 0.99 if side == "right" else 0.01
        axis.annotate(words, (place, level), xycoords=("axes fraction", "data"), xytext=(0, 3), fontsize=7.5,
                      textcoords="offset points", ha=side, color=plot_style.COLOURS["soft"])  # fmt: skip
    error = Z_95 * criticality.gamma_stderr[:, -1]
    label = f"growth of τ from N = {criticality.sizes[-2]} to {criticality.sizes[-1]}"
    axis.errorbar(criticality.temperature, criticality.gamma[:, -1], error, fmt="-o", ms=4, lw=1.3, capsize=2,
                  color=plot_style.COLOURS["curve"], label=label)  # fmt: skip
    error = Z_95 * criticality.gamma_flow_stderr
    axis.errorbar(criticality.temperature, criticality.gamma_flow, error, fmt="--D", ms=4, lw=1.1,
                  elinewidth=0.8, mfc=plot_style.COLOURS["paper"], color=plot_style.COLOURS["order"],
                  label="from the flow of the tag fraction")  # fmt: skip
    values = np.concatenate([criticality.gamma[:, -1], criticality.gamma_flow])
    values = values[np.isfinite(values)].clip(-1.2, 2.2)
    axis.set_ylim(min(-0.25, *(values - 0.1)), max(1.35, *(values + 0.1)))
    axis.set_title("Growth exponent γ of τ(N) ∝ N^γ")
    axis.set_ylabel("γ, error bars at 95 %")
    _mark_order(axis, criticality)
    axis.legend(loc="best")
    return figure


def plot_correlation(map_: PhaseMapData, criticality: Criticality) -> Figure:
    """Plot the correlation C of two tags over their distance, at several temperatures."""
    figure, (axis,) = plot_style.build_panels(1, 4.2)
    colours = plot_style.sample_colours(plot_style.HEAT_COLORMAP, NUM_LINES)
    indices = np.unique(np.linspace(0, len(criticality.temperature) - 1, NUM_LINES).round().astype(int))
    for colour, k in zip(colours, indices, strict=False):
        value = np.where(criticality.correlation[k] > 0, criticality.correlation[k], np.nan)
        axis.plot(
            criticality.lags, value, "-o", ms=3.2, lw=1.3, color=colour, label=f"T = {criticality.temperature[k]:.2f}"
        )
    axis.set_xscale("log")
    _set_log_scale(axis, criticality.correlation[indices])
    axis.grid(True, axis="both")
    axis.set_title("Correlation of tags C(Δt), second half of the text")
    axis.set_xlabel(f"distance Δt in {_tags_label(criticality)}")
    axis.set_ylabel("C(Δt); negative values are omitted")
    axis.legend(ncols=2, loc="best")
    return figure


def plot_spectrum(map_: PhaseMapData, criticality: Criticality) -> Figure:
    """Plot the spectrum of the second tag over temperature."""
    figure, (axis,) = plot_style.build_panels(1, 4.2)
    omega = np.linspace(0, 0.5, criticality.spectrum.shape[1])
    power = np.ma.masked_less_equal(criticality.spectrum.T, 0)
    # S(0) is tau, far above the rest: included in the scale, it would darken everything else.
    rest = power[1:].compressed()
    floor, top = np.quantile(rest, [0.02, 0.998]).tolist() if len(rest) else (1e-3, 1.0)
    x, y = _cell_edges(criticality.temperature), _cell_edges(omega)
    norm = LogNorm(floor, max(top, 2 * floor))
    mesh = axis.pcolormesh(x, y, power, rasterized=True, cmap="magma", norm=norm)
    figure.subplots_adjust(right=0.93)
    bar = figure.colorbar(mesh, ax=axis, pad=0.02)
    bar.set_label("S(ω), per tag; the scale omits ω = 0")
    bar.outline.set_visible(False)
    axis.set_ylim(0, 0.5)
    axis.set_xlabel("temperature T")
    axis.set_ylabel("frequency ω in cycles per tag")
    axis.set_title(f"Spectrum S(ω) of {_tags_label(criticality)}")
    axis.grid(False)
    return figure


def _cell_edges(centers: Floats) -> Floats:
    """Return the borders of cells around rising centres."""
    middle = 0.5 * (centers[1:] + centers[:-1])
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])


def plot_relaxation(map_: PhaseMapData, criticality: Criticality) -> Figure:
    """Plot the relaxation time of the tags from the start of the text, and the number of peaks of their spectrum."""
    figure, axes = plot_style.build_panels(2, 4.8)
    plot_style.format_temperature_axis(axes, criticality.temperature)
    axes[0].plot(criticality.temperature, criticality.relaxation, "-o", ms=4, color=plot_style.COLOURS["curve"])
    axes[0].set_title("Relaxation time of the tag distribution")
    axes[0].set_ylabel(f"{_tags_label(criticality)}")
    axes[1].plot(
        criticality.temperature, criticality.peaks, "-o", ms=4, color=plot_style.COLOURS["curve"], drawstyle="steps-mid"
    )
    axes[1].set_title("Peaks of the spectrum")
    axes[1].set_ylabel("number")
    for axis, value in zip(axes, (criticality.relaxation, criticality.peaks), strict=True):
        axis.set_ylim(0, max(1.0, 1.1 * float(np.nanmax(value))))
    _mark_order(axes[0], criticality)
    return figure


FIGURES: dict[str, Callable[[PhaseMapData, Criticality], Figure]] = {
    "critical-growth": plot_growth,
    "critical-exponent": plot_exponents,
    "critical-correlation": plot_correlation,
    "critical-spectrum": plot_spectrum,
    "critical-relaxation": plot_relaxation,
}
