"""The page of a comparison: one self-contained HTML file, with the comparison as JSON beside it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heatbath.pages.figure_format import figure_style
from heatbath.pages.html_parts import escape_text, load_style, render_figure, render_table
from heatbath.pages.report_folder import load_template, write_files
from heatbath.pages.verdicts import render_verdicts
from heatbath.phases.comparison.comparison_data import ComparisonData, DifferenceCurve, Pairing, TextComparison
from heatbath.phases.comparison.comparison_figures import plot_comparison_curve, plot_comparison_overview
from heatbath.phases.comparison.comparison_verdicts import (
    build_comparison_verdicts,
    differing_temperatures,
    format_difference,
    format_quantity,
)
from heatbath.phases.curves import title_and_unit
from heatbath.phases.report.figures import DrawFigure
from heatbath.phases.report.verdicts import format_interval, format_temperature
from heatbath.phases.result_file import COMPARISON_FORMAT

PAGE_FILE = "comparison.html"
NUM_COLUMNS = 5


def write_comparison(comparison: ComparisonData, folder: Path) -> Path:
    """Write comparison.json and comparison.html, and return the path of the page; an error leaves no partial file.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    with write_files(folder) as draft:
        COMPARISON_FORMAT.save(comparison, draft / COMPARISON_FORMAT.file_name)
        (draft / PAGE_FILE).write_text(render_comparison(comparison), encoding="utf-8")
    return folder / PAGE_FILE


def render_comparison(comparison: ComparisonData) -> str:
    """Render the page."""
    return load_template("heatbath.phases.report", "comparison_template.html").substitute(
        style=load_style(),
        title=escape_text(f"{comparison.a.label} and {comparison.b.label} compared"),
        label_a=escape_text(comparison.a.label),
        label_b=escape_text(comparison.b.label),
        budget=escape_text(format_budget(comparison)),
        verdict=render_verdicts(build_comparison_verdicts(comparison)),
        notes="\n".join(f"<p>{escape_text(note)}</p>" for note in comparison.notes),
        overview=_draw_figure(
            "overview", lambda: plot_comparison_overview(comparison), "Both sides and their difference"
        ),
        legend=escape_text(_describe_intervals(comparison)),
        edges=_render_edges(comparison),
        texts=_render_texts(comparison.texts),
        table=_render_values(comparison.curves),
        curves="\n".join(_render_curve(curve) for curve in comparison.curves),
        pairing=_render_pairing(comparison.pairing),
        provenance=_render_provenance(comparison),
    )


def format_budget(comparison: ComparisonData) -> str:
    """Describe the texts that were compared, in one line."""
    shared = comparison.settings
    span = f"from T = {shared['low']:.2f} to {shared['high']:.2f}"
    if comparison.pairing is None:
        return f"Two independent sweeps of texts of {shared['length']} tokens, {span}. Energies are in nats."
    return (
        f"{comparison.pairing.pairs:,} pairs of texts of {shared['length']} tokens at "
        f"{len(comparison.pairing.temperature)} temperatures {span}. Energies are in nats."
    )


def _describe_intervals(comparison: ComparisonData) -> str:
    if comparison.pairing is None:
        how = "The errors of both sweeps add as independent ones."
    else:
        how = (
            "Both sides continue the same prompts at the same temperatures from the random streams of their seeds; "
            "each interval is that of the mean difference of pairs, at each temperature by itself."
        )
    return f"Bars are 95 % intervals; shaded are the intervals of the edges of each side. {how}"


def _draw_figure(name: str, draw: DrawFigure, label: str) -> str:
    with figure_style(f"comparison-{name}"):
        target = io.StringIO()
        draw().savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    return render_figure(target.getvalue(), label)


def _render_edges(comparison: ComparisonData) -> str:
    rows: list[Sequence[str]] = []
    for edge in comparison.edges:
        for one in edge.estimators:
            difference = "none" if one.interval is None else format_difference(one.difference, *one.interval)
            sides = ("not found" if t is None else f"{t:.2f}" for t in (one.a, one.b))
            rows.append((edge.name, one.name, *sides, difference, one.reason))
        both = "none" if edge.interval is None else format_difference(edge.difference, *edge.interval)
        sides = (_format_edge(side.temperature, side.interval) for side in (edge.a, edge.b))
        rows.append((edge.name, "together", *sides, both, edge.verdict))
    head = ("edge", "estimator", "T of A", "T of B", "B − A", "verdict")
    return render_table(head, rows, text_columns=(1, 5))


def _format_edge(temperature: float | None, interval: tuple[float, float] | None) -> str:
    if temperature is None and interval is not None:
        return format_interval(interval)
    return format_temperature(temperature, interval).replace("T = ", "")


def _render_texts(texts: TextComparison | None) -> str:
    if texts is None:
        return ""
    rows = [
        (one.name, one.unit, format_quantity(one.difference, signed="B − A" in one.unit)) for one in texts.quantities
    ]
    place = f"{texts.texts} texts of {texts.tokens:,} tokens at T = {texts.temperature:g}: {texts.source}."
    worst = [
        (one.context, one.token, f"{one.a_logprob:.3f}", f"{one.b_logprob:.3f}", f"{one.divergence:.3g}")
        for one in texts.disagreements
    ]
    table = render_table(("quantity", "unit", "mean (95 % interval over texts)"), rows, text_columns=(0, 1))
    head = ("text before", "token", "ln p of A", "ln p of B", "Jensen-Shannon")
    largest = f"\n<h3>Largest disagreements</h3>\n{render_table(head, worst, (0, 1))}" if worst else ""
    return f"<h2>The same texts</h2>\n<p>{escape_text(place)}</p>\n{table}{largest}"


def _render_values(curves: Sequence[DifferenceCurve]) -> str:
    grid = curves[0].temperature
    columns = np.linspace(0, len(grid) - 1, NUM_COLUMNS).round().astype(int)
    head = ("observable", "unit", *(f"T = {grid[k]:.2f}" for k in columns), "differs")
    rows = []
    for curve in curves:
        title, unit = title_and_unit(curve.name)
        values = (format_difference(*(float(c[k]) for c in (curve.difference, curve.low, curve.high))) for k in columns)
        rows.append((title, unit, *values, differing_temperatures(curve)))
    return render_table(head, rows, text_columns=(0, len(head) - 1))


def _render_curve(curve: DifferenceCurve) -> str:
    title, _ = title_and_unit(curve.name)
    slug = "".join(c if c.isascii() and c.isalnum() else "-" for c in curve.name.lower())
    figure = _draw_figure(slug, lambda: plot_comparison_curve(curve), f"{title} of both sides and the difference")
    return f"<details><summary>{escape_text(title)}</summary>\n{figure}\n</details>"


def _render_pairing(pairing: Pairing | None) -> str:
    if pairing is None:
        return ""
    rows = [
        (f"{t:.2f}", f"{identical:.0%}", f"{common:.1f}", _format_ratio(ratio))
        for t, identical, common, ratio in zip(
            pairing.temperature, pairing.identical, pairing.common_tokens, pairing.variance_ratio, strict=True
        )
    ]
    head = ("T", "identical pairs", "tokens to the first difference", "variance saved, entropy")
    return (
        "<h2>How alike the pairs are</h2>\n<p>The variance saved is that of unpaired texts over that of pairs, "
        f"for the difference of the entropy.</p>\n{render_table(head, rows)}"
    )


def _format_ratio(ratio: float) -> str:
    if np.isnan(ratio):
        return "nothing varies"
    return "all" if np.isinf(ratio) else f"× {ratio:.1f}"


def _render_provenance(comparison: ComparisonData) -> str:
    sides = (comparison.a, comparison.b)
    rows: list[Sequence[Any]] = [
        ("model", *(side.model.model for side in sides)),
        ("fingerprint", *(side.model.fingerprint for side in sides)),
        ("heatbath", *(side.model.version for side in sides)),
    ]
    names = list(dict.fromkeys(name for side in sides for name in side.settings))
    rows += [(name, *(str(side.settings.get(name, "")) for side in sides)) for name in names]
    rows += [(name, str(value), str(value)) for name, value in comparison.settings.items() if name not in names]
    return render_table(("setting", "A", "B"), rows, text_columns=(1, 2))
