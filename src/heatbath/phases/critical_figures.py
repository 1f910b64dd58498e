"""Pictures of the critical observables: growth of tau with length, correlation, spectrum, relaxation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from heatbath.phases import drawing as on
from heatbath.phases.critical import Criticality
from heatbath.phases.phasemap import PhaseMap

Floats = NDArray[np.float64]

SHOWN = 6
"""Temperatures that a figure with one line for each shows."""


def _order(axis: Axes, found: Criticality) -> None:
    """Mark the end of order, or say that there is none."""
    edge = found.order
    if edge.temperature is not None and edge.interval is not None:
        axis.axvspan(*edge.interval, color=on.COLOURS["order"], alpha=0.16, lw=0, zorder=0.5)
        axis.axvline(edge.temperature, color=on.COLOURS["order"], lw=1.1)
        words = f"T_c = {edge.temperature:.2f} ({edge.interval[0]:.2f} to {edge.interval[1]:.2f})"
    else:
        words = "end of order: no edge found"
    axis.set_title(words, loc="right", color=on.COLOURS["order"], fontweight="normal", fontsize=8.5)


def _tags(found: Criticality) -> str:
    return f"{found.tags} tags" if found.tags != "auto" else "tags"


def growth(map_: PhaseMap, found: Criticality) -> Figure:
    """tau(N) against temperature, of whole texts and within each text, for growing N."""
    figure, axes = on.panels(2, 6.4)
    on.finish(axes, found.temperature)
    kinds = [("Susceptibility τ(N), all texts", found.tau), ("Susceptibility τ(N), within each text", found.tau_within)]
    for axis, (title, tau) in zip(axes, kinds, strict=True):
        for i, colour in enumerate(on.shades(on.SIZES, len(found.sizes))):
            _line(axis, found, i, (tau, colour))
        _logarithmic(axis, tau)
        axis.set_title(title)
        axis.set_ylabel(f"{_tags(found)}")
    _order(axes[0], found)
    axes[0].legend(title="length N in tags", ncols=4, loc="best", title_fontsize=8)
    return figure


def _logarithmic(axis: Axes, value: Floats) -> None:
    """A logarithmic scale, where there is anything to show on it."""
    if (value > 0).any():
        axis.set_yscale("log")
        axis.yaxis.set_minor_formatter(NullFormatter())


def _line(axis: Axes, found: Criticality, i: int, drawn: tuple[Floats, tuple[float, ...]]) -> None:
    tau, colour = drawn
    shown = np.where(tau[:, i] > 0, tau[:, i], np.nan)
    axis.plot(found.temperature, shown, "-o", ms=3, lw=1.3, color=colour, label=f"{found.sizes[i]}")
    if tau is found.tau:
        error = on.SURE * found.tau_stderr[:, i]
        low = np.maximum(shown - error, 0.02 * shown)
        axis.fill_between(found.temperature, low, shown + error, color=colour, alpha=0.15, lw=0)


def exponents(map_: PhaseMap, found: Criticality) -> Figure:
    """The growth exponent of tau over the last doubling, and what the flow of the tag fraction says of endless text."""
    figure, axes = on.panels(1, 3.9)
    axis = axes[0]
    on.finish(axes, found.temperature)
    for level, side, words in ((1.0, "right", "1: as with lasting order"), (0.0, "left", "0: as with a short memory")):
        axis.axhline(level, color=on.COLOURS["soft"], lw=0.9, ls=(0, (2, 2)))
        place = 0.99 if side == "right" else 0.01
        axis.annotate(words, (place, level), xycoords=("axes fraction", "data"), xytext=(0, 3), fontsize=7.5,
                      textcoords="offset points", ha=side, color=on.COLOURS["soft"])  # fmt: skip
    error = on.SURE * found.gamma_stderr[:, -1]
    label = f"growth of τ from N = {found.sizes[-2]} to {found.sizes[-1]}"
    axis.errorbar(found.temperature, found.gamma[:, -1], error, fmt="-o", ms=4, lw=1.3, capsize=2,
                  color=on.COLOURS["curve"], label=label)  # fmt: skip
    axis.errorbar(found.temperature, found.gamma_flow, on.SURE * found.gamma_flow_stderr, fmt="--D", ms=4, lw=1.1,
                  elinewidth=0.8, mfc=on.COLOURS["paper"], color=on.COLOURS["order"],
                  label="from the flow of the tag fraction")  # fmt: skip
    drawn = np.concatenate([found.gamma[:, -1], found.gamma_flow])
    drawn = drawn[np.isfinite(drawn)].clip(-1.2, 2.2)
    axis.set_ylim(min(-0.25, *(drawn - 0.1)), max(1.35, *(drawn + 0.1)))
    axis.set_title("Growth exponent γ of τ(N) ∝ N^γ")
    axis.set_ylabel("γ, error bars at 95 %")
    _order(axis, found)
    axis.legend(loc="best")
    return figure


def correlation(map_: PhaseMap, found: Criticality) -> Figure:
    """C of two tags against the distance between them, at several temperatures."""
    figure, (axis,) = on.panels(1, 4.2)
    colours = on.shades(on.HEAT, SHOWN)
    shown = np.unique(np.linspace(0, len(found.temperature) - 1, SHOWN).round().astype(int))
    for colour, k in zip(colours, shown, strict=False):
        value = np.where(found.correlation[k] > 0, found.correlation[k], np.nan)
        axis.plot(found.lags, value, "-o", ms=3.2, lw=1.3, color=colour, label=f"T = {found.temperature[k]:.2f}")
    axis.set_xscale("log")
    _logarithmic(axis, found.correlation[shown])
    axis.grid(True, axis="both")
    axis.set_title("Correlation of tags C(Δt), second half of the text")
    axis.set_xlabel(f"distance Δt in {_tags(found)}")
    axis.set_ylabel("C(Δt); negative values are left out")
    axis.legend(ncols=2, loc="best")
    return figure


def spectrum(map_: PhaseMap, found: Criticality) -> Figure:
    """The spectrum of the second tag over temperature."""
    figure, (axis,) = on.panels(1, 4.2)
    omega = np.linspace(0, 0.5, found.spectrum.shape[1])
    power = np.ma.masked_less_equal(found.spectrum.T, 0)
    # S(0) is tau, far above the rest: it would darken everything else.
    rest = power[1:].compressed()
    floor, top = np.quantile(rest, [0.02, 0.998]).tolist() if len(rest) else (1e-3, 1.0)
    mesh = axis.pcolormesh(_borders(found.temperature), _borders(omega), power, rasterized=True, cmap="magma",
                           norm=LogNorm(floor, max(top, 2 * floor)))  # fmt: skip
    figure.subplots_adjust(right=0.93)
    bar = figure.colorbar(mesh, ax=axis, pad=0.02)
    bar.set_label("S(ω), per tag; the scale leaves out ω = 0")
    bar.outline.set_visible(False)
    axis.set_ylim(0, 0.5)
    axis.set_xlabel("temperature T")
    axis.set_ylabel("frequency ω in cycles per tag")
    axis.set_title(f"Spectrum S(ω) of {_tags(found)}")
    axis.grid(False)
    return figure


def _borders(centers: Floats) -> Floats:
    """Borders of cells around rising centres."""
    middle = 0.5 * (centers[1:] + centers[:-1])
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])


def relaxation(map_: PhaseMap, found: Criticality) -> Figure:
    """How long tags take to forget the start of the text, and how many peaks their spectrum has."""
    figure, axes = on.panels(2, 4.8)
    on.finish(axes, found.temperature)
    axes[0].plot(found.temperature, found.relaxation, "-o", ms=4, color=on.COLOURS["curve"])
    axes[0].set_title("Relaxation time of the tag distribution")
    axes[0].set_ylabel(f"{_tags(found)}")
    axes[1].plot(found.temperature, found.peaks, "-o", ms=4, color=on.COLOURS["curve"], drawstyle="steps-mid")
    axes[1].set_title("Peaks of the spectrum")
    axes[1].set_ylabel("number")
    for axis, value in zip(axes, (found.relaxation, found.peaks), strict=True):
        axis.set_ylim(0, max(1.0, 1.1 * float(np.nanmax(value))))
    _order(axes[0], found)
    return figure


FIGURES: dict[str, Callable[[PhaseMap, Criticality], Figure]] = {
    "critical-growth": growth,
    "critical-exponent": exponents,
    "critical-correlation": correlation,
    "critical-spectrum": spectrum,
    "critical-relaxation": relaxation,
}
