"""The figures of a calibration report: reliability, all signals by AUROC, and risk against coverage."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.figure import Figure

from heatbath.pages.figure_format import COLOURS, WIDTH
from heatbath.trust.calibration.calibration_study import CalibrationStudy
from heatbath.trust.calibration.signal_ranking import SignalRanking

MAX_SIGNALS = 24
"""Signals in the figure of the ranking."""

_MARGINS = {"left": 0.11, "right": 0.97, "top": 0.92, "bottom": 0.13}


def plot_reliability(study: CalibrationStudy) -> Figure:
    """Plot the share of right answers against confidence in bins of equal mass, and how many answers each holds."""
    figure = Figure(figsize=(WIDTH, 4.6))
    top, bottom = figure.subplots(
        2, 1, sharex=True, height_ratios=[3.2, 1], gridspec_kw={**_MARGINS, "bottom": 0.11, "hspace": 0.1}
    )
    top.plot([0, 1], [0, 1], color=COLOURS["soft"], lw=0.9, ls=(0, (3, 3)))
    if study.raw is not None:
        raw = study.raw.reliability
        top.plot(
            [one.confidence for one in raw],
            [one.accuracy for one in raw],
            "o",
            ms=4,
            mfc=COLOURS["paper"],
            color=COLOURS["turn"],
            label="probability of the whole answer, uncalibrated",
        )
    bins = study.held_out.reliability
    x = np.array([one.confidence for one in bins])
    y = np.array([one.accuracy for one in bins])
    bars = np.abs(np.array([[one.low, one.high] for one in bins]).T - y)
    top.errorbar(x, y, bars, fmt="o", ms=4.5, lw=1.0, capsize=2, color=COLOURS["curve"], label="calibrated")
    top.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), ylabel="share of right answers")
    top.set_title(f"Held-out answers: {study.held_out.answers}, bars at 95 %")
    top.legend(loc="upper left")
    bottom.bar(x, [one.count for one in bins], width=0.015, color=COLOURS["curve"])
    bottom.set(ylabel="answers", xlabel="confidence")
    return figure


def plot_ranking(ranking: SignalRanking) -> Figure:
    """Plot the AUROC of each signal with its interval, the best on top, and the reference marked."""
    signals = ranking.signals[:MAX_SIGNALS]
    height = 0.75 + 0.235 * len(signals)
    figure = Figure(figsize=(WIDTH, height))
    axis = figure.subplots(gridspec_kw={"left": 0.3, "right": 0.97, "top": 1 - 0.3 / height, "bottom": 0.42 / height})
    rows = np.arange(len(signals))[::-1]
    for row, one in zip(rows.tolist(), signals, strict=True):
        colour = COLOURS["curve" if one.column.is_gauge_invariant else "melt"]
        colour = COLOURS["use"] if one.column.name == ranking.reference else colour
        axis.errorbar(
            one.auroc,
            row,
            xerr=[[max(0.0, one.auroc - one.low)], [max(0.0, one.high - one.auroc)]],
            fmt="o",
            ms=4,
            lw=1.1,
            color=colour,
        )
    axis.axvline(0.5, color=COLOURS["soft"], lw=0.9, ls=(0, (3, 3)))
    axis.set_yticks(rows, [one.column.name for one in signals])
    axis.grid(axis="x")
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("AUROC on held-out answers")
    axis.set_title("Signals; green: reference, orange: depends on the gauge", fontsize=9)
    return figure


def plot_risk(study: CalibrationStudy) -> Figure:
    """Plot the error rate among answered questions against the share that is answered, with the guarantee."""
    figure = Figure(figsize=(WIDTH, 3.2))
    axis = figure.subplots(gridspec_kw={**_MARGINS, "top": 0.9, "bottom": 0.15})
    curve, guarantee = study.coverage, study.guarantee
    axis.fill_between(curve.coverage, curve.low, curve.high, color=COLOURS["curve"], alpha=0.2, lw=0)
    axis.plot(curve.coverage, curve.risk, color=COLOURS["curve"])
    axis.axhline(guarantee.max_error, color=COLOURS["melt"], lw=1.0, ls=(0, (3, 3)))
    axis.text(0.995, guarantee.max_error, "bound", ha="right", va="bottom", color=COLOURS["melt"], fontsize=8)
    if study.realised.answered:
        axis.axvline(study.realised.answered / study.held_out.answers, color=COLOURS["use"], lw=1.2)
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of questions that is answered", ylabel="error rate among answered")
    axis.set_title("Held-out answers by falling confidence, band at 95 %; green: the threshold")
    return figure


def list_figures(study: CalibrationStudy) -> Mapping[str, Callable[[], Figure]]:
    """Return the functions that draw the figures, by name."""
    return {
        "reliability": lambda: plot_reliability(study),
        "ranking": lambda: plot_ranking(study.ranking),
        "risk-coverage": lambda: plot_risk(study),
    }
