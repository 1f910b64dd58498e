"""The report of a sweep: one page that needs nothing from outside, beside the figures and the map as JSON."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from heatbath.phases import store, words
from heatbath.phases.curves import Curve
from heatbath.phases.drawing import SURE
from heatbath.phases.figures import name_of, write_figures
from heatbath.phases.inline import inline
from heatbath.phases.phasemap import PhaseMap
from heatbath.phases.titles import titles
from heatbath.phases.words import printable, verdicts

PAGE = "report.html"
FIGURES = "figures"
COLUMNS = 5

_CRITICAL = {
    "critical-growth": "Susceptibility of tags against temperature",
    "critical-exponent": "Growth exponent of the susceptibility against temperature",
    "critical-correlation": "Correlation of tags against distance",
    "critical-spectrum": "Spectrum of tags against temperature",
    "critical-relaxation": "Relaxation time and peaks of the spectrum against temperature",
}


def write_report(map_: PhaseMap, folder: Path) -> Path:
    """Write phases.json, figures/*.png, figures/*.svg and report.html; the path of the page.

    Everything is made aside and moved when all is there, so that a failure leaves nothing half-written.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", suffix=".part", dir=folder) as aside:
        made = Path(aside)
        (made / FIGURES).mkdir()
        names = write_figures(map_, made / FIGURES)
        store.save(map_, made / store.FILE)
        figures = {name: (made / FIGURES / f"{name}.svg").read_text(encoding="utf-8") for name in names}
        (made / PAGE).write_text(page(map_, figures), encoding="utf-8")
        (folder / FIGURES).mkdir(exist_ok=True)
        for path in sorted(made.rglob("*.*")):
            os.replace(path, folder / path.relative_to(made))
    return folder / PAGE


def page(map_: PhaseMap, figures: dict[str, str]) -> str:
    """The page; `figures` holds the SVG of each figure by its name."""
    template = Template(files("heatbath.phases").joinpath("report_template.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=_text(f"Phase map of {map_.model.model}"),
        budget=_text(_budget(map_)),
        verdict=_cards(map_),
        overview=_figure(figures["overview"], "Overview: observables and edges against temperature"),
        estimators=_estimators(map_),
        references=_references(map_),
        samples=_samples(map_),
        table=_values(map_),
        curves="\n".join(_curve(curve, figures[name_of(curve)]) for curve in map_.curves),
        criticality=_critical(map_, figures),
        made=_made(map_),
    )


def _text(value: object) -> str:
    return escape(printable(str(value)))


def _figure(svg: str, label: str) -> str:
    return f"<figure>{inline(svg, printable(label))}</figure>"


def _curve(curve: Curve, svg: str) -> str:
    title, _ = titles(curve.name)
    figure = _figure(svg, f"{title} and its response against temperature")
    return f"<details><summary>{_text(title)}</summary>\n{figure}\n</details>"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]], wordy: Sequence[int] = ()) -> str:
    """A table of texts; the columns `wordy` hold sentences."""
    kinds = [' class="words"' if i in wordy else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{_text(name)}</th>' for kind, name in zip(kinds, head, strict=True))
    body = "\n".join(
        f"<tr>{''.join(f'<td{kind}>{_text(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _budget(map_: PhaseMap) -> str:
    b = map_.budget
    return f"{b.sequences:,} texts, {b.tokens:,} tokens, {b.seconds:,.0f} seconds of drawing. Energies are in nats."


def _cards(map_: PhaseMap) -> str:
    return "\n".join(
        f'<li style="--hue: var(--{v.kind})"><b>{_text(v.title)}</b><strong>{_text(v.said)}</strong>'
        f"<span>{_text(v.why)}</span></li>"
        for v in verdicts(map_)
    )


def _estimators(map_: PhaseMap) -> str:
    rows = []
    for edge in map_.edges:
        for one in edge.estimators:
            sizes = ", ".join(f"{t:.2f} at {n}" for n, t in sorted(one.by_size.items()))
            found = words.at(one.temperature, one.interval)
            rows.append((edge.name, one.name, sizes or "none", found, one.reason))
    return _grid(("edge", "estimator", "T at each length N", "at the longest", "judgement"), rows, wordy=(1, 4))


def _references(map_: PhaseMap) -> str:
    best = map_.advice.best
    if not best:
        return ""
    head = ("T", *(one.way for one in best))
    rows = [
        (f"{t:.2f}", *(f"{one.accuracy[k]:.1%} ± {SURE * one.accuracy_stderr[k]:.1%}" for one in best))
        for k, t in enumerate(best[0].temperatures)
    ]
    return f"<h2>Accuracy on the prompts with references</h2>\n{_grid(head, rows)}"


def _samples(map_: PhaseMap) -> str:
    return "\n".join(
        f'<h3>T = {sample.temperature:.2f}</h3>\n<pre dir="auto">{_text(sample.text)}</pre>' for sample in map_.samples
    )


def _values(map_: PhaseMap) -> str:
    """Every observable at a few temperatures, with half the width of its 95 % band."""
    grid = map_.curves[0].temperature
    shown = np.linspace(0, len(grid) - 1, COLUMNS).round().astype(int)
    head = ("observable", "unit", *(f"T = {grid[k]:.2f}" for k in shown))
    rows = []
    for curve in map_.curves:
        title, unit = titles(curve.name)
        rows.append((title, unit, *(words.rounded(curve.value[k], SURE * curve.stderr[k]) for k in shown)))
    return _grid(head, rows, wordy=(0,))


def _critical(map_: PhaseMap, figures: dict[str, str]) -> str:
    found = map_.criticality
    if found is None:
        return ""
    texts = f"{found.texts.sum():,.0f} texts of {found.length} tags ({found.tags}); {found.dropped.sum():,.0f} short."
    drawn = "\n".join(_figure(figures[name], label) for name, label in _CRITICAL.items())
    return (
        "<h2>Critical behaviour of the tags</h2>\n"
        f"<p>{_text(texts)} Growth of τ(N) with N alone is no sign of order: the end of order is read from the flow of "
        "the tag fraction under doubling of the text, and from the variance that is left in endless text.</p>\n"
        f"<p><b>Mixture control.</b> {_text(words.mixture(found))}</p>\n"
        f"{drawn}"
    )


def _made(map_: PhaseMap) -> str:
    facts = {
        "model": map_.model.model,
        "fingerprint": map_.model.fingerprint,
        "heatbath": map_.model.version,
        **{name: value for name, value in map_.settings.items()},
        "effective texts at a temperature": _effective(map_),
    }
    ess = map_.curves[0]
    each = [(f"{t:.3f}", f"{n:.1f}") for t, n in zip(ess.points.x, ess.ess, strict=True)]
    return (
        _grid(("setting", "value"), [(name, str(value)) for name, value in facts.items()], wordy=(1,))
        + "\n<details><summary>Effective number of texts at each measured temperature</summary>\n"
        + _grid(("T", "effective texts"), each)
        + "\n</details>"
    )


def _effective(map_: PhaseMap) -> str:
    ess = map_.curves[0].ess
    return f"{ess.min():.1f} to {ess.max():.1f}, median {np.median(ess):.1f}"
