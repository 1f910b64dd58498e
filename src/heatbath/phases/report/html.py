"""The report of a sweep: one self-contained HTML page, with the figures and the map as JSON beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heatbath.pages.html_parts import escape_text, load_style, render_figure, render_table
from heatbath.pages.report_folder import FIGURES_FOLDER, load_template, read_figures, write_files
from heatbath.pages.verdicts import render_verdicts
from heatbath.phases.curves import Curve, title_and_unit
from heatbath.phases.phase_map_data import PhaseMapData
from heatbath.phases.report.accuracy_tables import render_accuracy
from heatbath.phases.report.figures import figure_name, write_figures
from heatbath.phases.report.sweep_description import describe_averages, describe_sweep, label_settings
from heatbath.phases.report.verdicts import (
    build_verdicts,
    describe_mixture,
    format_temperature,
    format_with_band,
    to_sentence,
)
from heatbath.phases.result_file import PHASE_MAP_FORMAT

REPORT_FILE = "report.html"
NUM_COLUMNS = 5

_CRITICAL_FIGURES = {
    "critical-growth": "Susceptibility of tags against temperature",
    "critical-exponent": "Growth exponent of the susceptibility against temperature",
    "critical-correlation": "Correlation of tags against distance",
    "critical-spectrum": "Spectrum of tags against temperature",
    "critical-relaxation": "Relaxation time and peaks of the spectrum against temperature",
}


def write_report(map_: PhaseMapData, folder: Path) -> Path:
    """Write phases.json, figures/*.png, figures/*.svg and report.html, and return the path of the page.

    An error leaves no partial report.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    with write_files(folder) as draft:
        write_figures(map_, draft / FIGURES_FOLDER)
        PHASE_MAP_FORMAT.save(map_, draft / PHASE_MAP_FORMAT.file_name)
        (draft / REPORT_FILE).write_text(render_page(map_, read_figures(draft)), encoding="utf-8")
    return folder / REPORT_FILE


def render_page(map_: PhaseMapData, figures: dict[str, str]) -> str:
    """Render the page; `figures` maps the name of each figure to its SVG."""
    return load_template("heatbath.phases.report", "report_template.html").substitute(
        style=load_style(),
        title=escape_text(f"Phase map of {map_.model.model}"),
        swept=_render_description(map_),
        budget=escape_text(_format_budget(map_)),
        averages=escape_text(describe_averages(map_)),
        verdict=render_verdicts(build_verdicts(map_)),
        overview=render_figure(figures["overview"], "Overview: observables and edges against temperature"),
        estimators=_render_estimators(map_),
        references=render_accuracy(map_.advice),
        samples=_render_samples(map_),
        table=_render_values(map_),
        curves="\n".join(_render_curve(curve, figures[figure_name(curve)]) for curve in map_.curves),
        criticality=_render_criticality(map_, figures),
        provenance=_render_provenance(map_),
    )


def _render_curve(curve: Curve, svg: str) -> str:
    title, _ = title_and_unit(curve.name)
    figure = render_figure(svg, f"{title} and its response against temperature")
    return f"<details><summary>{escape_text(title)}</summary>\n{figure}\n</details>"


def _render_description(map_: PhaseMapData) -> str:
    return "\n".join(f'<p class="quiet">{escape_text(to_sentence(line))}</p>' for line in describe_sweep(map_))


def _format_budget(map_: PhaseMapData) -> str:
    b = map_.budget
    return f"{b.sequences:,} texts, {b.tokens:,} tokens, {b.seconds:,.0f} seconds of sampling. Energies are in nats."


def _render_estimators(map_: PhaseMapData) -> str:
    rows = []
    for edge in map_.edges:
        for one in edge.estimators:
            sizes = ", ".join(f"{t:.2f} at {n}" for n, t in sorted(one.by_size.items()))
            estimate = format_temperature(one.temperature, one.interval)
            rows.append((edge.name, one.name, sizes or "none", estimate, one.reason))
    return render_table(
        ("edge", "estimator", "T at each length N", "T at the longest", "verdict"), rows, text_columns=(1, 4)
    )


def _render_samples(map_: PhaseMapData) -> str:
    parts = []
    for sample in sorted(map_.samples, key=lambda one: (not one.recommended, one.temperature)):
        notes = ["in the recommended range"] * sample.recommended + ["ended by itself"] * sample.finished
        title = escape_text("".join([f"T = {sample.temperature:.2f}", *(f", {note}" for note in notes)]))
        hue = ' style="--hue: var(--use)"' if sample.recommended else ""
        prompt = f'<pre class="prompt" dir="auto">{escape_text(sample.prompt)}</pre>\n' if sample.prompt else ""
        parts.append(f'<h3>{title}</h3>\n{prompt}<pre dir="auto"{hue}>{escape_text(sample.text)}</pre>')
    return "\n".join(parts)


def _render_values(map_: PhaseMapData) -> str:
    """Render every observable at a few temperatures, with its 95 % band."""
    grid = map_.curves[0].temperature
    columns = np.linspace(0, len(grid) - 1, NUM_COLUMNS).round().astype(int)
    head = ("observable", "unit", *(f"T = {grid[k]:.2f}" for k in columns))
    rows = []
    for curve in map_.curves:
        title, unit = title_and_unit(curve.name)
        values = (format_with_band(float(curve.value[k]), *curve.band[:, k].tolist()) for k in columns)
        rows.append((title, unit, *values))
    return render_table(head, rows, text_columns=(0,))


def _render_criticality(map_: PhaseMapData, figures: dict[str, str]) -> str:
    critical = map_.criticality
    if critical is None:
        return ""
    texts = f"{critical.texts.sum():,.0f} texts of {critical.length} tags ({critical.tags})"
    dropped = f"{critical.dropped.sum():,.0f} texts were too short."
    rendered = "\n".join(render_figure(figures[name], label) for name, label in _CRITICAL_FIGURES.items())
    return (
        "<h2>Critical behaviour of the tags</h2>\n"
        f"<p>{escape_text(f'{texts}; {dropped}')} Growth of τ(N) with N alone does not show order: the end of order "
        "follows from the flow of the tag fraction when the text is doubled, and from the variance that remains in "
        "infinitely long text.</p>\n"
        f"<p><b>Mixture control.</b> {escape_text(describe_mixture(critical))}</p>\n"
        f"{rendered}"
    )


def _render_provenance(map_: PhaseMapData) -> str:
    facts = {
        "model": map_.model.model,
        "fingerprint": map_.model.fingerprint,
        "heatbath": map_.model.version,
        **label_settings(map_.settings),
        "effective texts at a temperature": _format_effective_sizes(map_),
    }
    ess = map_.curves[0]
    each = [(f"{t:.3f}", f"{n:.1f}") for t, n in zip(ess.points.x, ess.ess, strict=True)]
    return (
        render_table(("setting", "value"), [(name, str(value)) for name, value in facts.items()], text_columns=(1,))
        + "\n<details><summary>Effective number of texts at each measured temperature</summary>\n"
        + render_table(("T", "effective texts"), each)
        + "\n</details>"
    )


def _format_effective_sizes(map_: PhaseMapData) -> str:
    ess = map_.curves[0].ess
    return f"{ess.min():.1f} to {ess.max():.1f}, median {np.median(ess):.1f}"
