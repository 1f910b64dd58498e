"""The report of a calibration: a self-contained HTML page with figures and JSON beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from heatbath.pages.figure_format import figure_style, write_figure
from heatbath.pages.html_parts import escape_text, load_style, render_figure, render_table
from heatbath.pages.report_folder import FIGURES_FOLDER, load_template, read_figures, write_files
from heatbath.pages.verdicts import render_verdicts
from heatbath.record.result_file import ResultFormat
from heatbath.trust.calibration.calibration_study import SHARES, CalibrationStudy
from heatbath.trust.calibration.calibrator_content import CALIBRATOR_FORMAT, CalibratorContent
from heatbath.trust.calibration.metric_summary import METRICS, MetricSummary
from heatbath.trust.calibration.report_figures import list_figures
from heatbath.trust.calibration.report_words import (
    build_calibration_verdicts,
    format_difference,
    format_metric,
    format_share,
)
from heatbath.trust.calibration.signal_ranking import RankedSignal

REPORT_FORMAT = ResultFormat("calibration report", "heatbath calibrate", "report.json", (1,))
PAGE_FILE = "report.html"
MAX_CHARACTERS = 300


def write_report(content: CalibratorContent, study: CalibrationStudy, folder: Path) -> Path:
    """Write report.html, report.json, calibrator.json and the figures, and return the path of the page.

    An error leaves no partial report.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    with write_files(folder) as draft:
        for name, draw in list_figures(study).items():
            with figure_style(name):
                write_figure(draw(), draft / FIGURES_FOLDER, name)
        CALIBRATOR_FORMAT.save(content, draft / CALIBRATOR_FORMAT.file_name)
        REPORT_FORMAT.save(study, draft / REPORT_FORMAT.file_name)
        (draft / PAGE_FILE).write_text(render_page(content, study, read_figures(draft)), encoding="utf-8")
    return folder / PAGE_FILE


def render_page(content: CalibratorContent, study: CalibrationStudy, figures: Mapping[str, str]) -> str:
    """Render the page; `figures` maps the name of each figure to its SVG."""
    return load_template("heatbath.trust.calibration", "report_template.html").substitute(
        style=load_style(),
        title=escape_text(f"Confidence of {content.model.model} on {content.data.name}"),
        summary=escape_text(_summarize_data(content, study)),
        verdict=render_verdicts(build_calibration_verdicts(study)),
        reliability=render_figure(figures["reliability"], "Share of right answers against confidence"),
        metrics=_render_metrics(study),
        ranking_figure=render_figure(figures["ranking"], "AUROC of each signal"),
        reference=escape_text(study.ranking.reference),
        ranking=_render_ranking(study),
        risk=render_figure(figures["risk-coverage"], "Error rate against coverage"),
        gauge=_render_gauge(study),
        candidates=_render_candidates(study),
        examples=_render_examples(study),
        provenance=_render_provenance(content, study),
    )


def _summarize_data(content: CalibratorContent, study: CalibrationStudy) -> str:
    total, different = study.questions
    shares = ", ".join(f"{share:.0%}" for share in SHARES)
    return (
        f"{total:,} questions, {different:,} of them different, {content.data.right:,} answered rightly. They are "
        f"split at random, duplicates and near duplicates together, into {shares}: to choose and fit, to test the "
        f"threshold, and held out ({', '.join(map(str, study.parts))} answers)."
    )


def _render_metrics(study: CalibrationStudy) -> str:
    sets = [("held out", study.held_out), ("nested cross-validation, all", study.nested)]
    if study.raw is not None:
        sets.insert(1, ("held out, uncalibrated", study.raw))
    sets += [(f"held out, {one.group}", one) for one in study.groups]
    return render_table(("answers", "number", "right", *METRICS), [_metric_row(*one) for one in sets])


def _metric_row(name: str, summary: MetricSummary) -> list[str]:
    return [
        name,
        str(summary.answers),
        format_share(summary.accuracy),
        *(format_metric(one) for one in summary.metrics),
    ]


def _render_ranking(study: CalibrationStudy) -> str:
    head = ("signal", "AUROC", "against the reference", "against chance", "AURC", "PRR", "gauge", "tokens an answer")
    return render_table(head, map(_ranking_row, study.ranking.signals))


def _ranking_row(one: RankedSignal) -> list[str]:
    return [
        one.column.name,
        f"{one.auroc:.3f} ({one.low:.3f} to {one.high:.3f})",
        format_difference(one.against_reference),
        format_difference(one.against_chance),
        f"{one.aurc:.3f}",
        f"{one.prr:.3f}",
        "invariant" if one.column.is_gauge_invariant else "dependent",
        f"{one.column.cost:g}",
    ]


def _render_gauge(study: CalibrationStudy) -> str:
    head = ("signal", "says", "moves", "AUROC", "AUROC with constants")
    shown = [one for one in study.gauge if one.moves or not one.is_gauge_invariant]
    rows = [
        (
            one.name,
            "invariant" if one.is_gauge_invariant else "dependent",
            "yes" if one.moves else "no",
            f"{one.auroc:.3f}",
            f"{one.auroc_shifted:.3f}",
        )
        for one in shown
    ]
    still = len(study.gauge) - len(shown)
    note = f"<p>{still} signals that are said to be gauge-invariant did not move.</p>"
    return (render_table(head, rows) if rows else "") + note


def _render_candidates(study: CalibrationStudy) -> str:
    rows = [(" + ".join(one.signals), one.fit, f"{one.brier:.4f} ± {one.stderr:.4f}") for one in study.candidates]
    folds = "; ".join(" + ".join(one) for one in study.nested_choices)
    dropped = "".join(f"<li>{escape_text(f'{name}: {reason}')}</li>" for name, reason in study.dropped)
    return (
        render_table(("signals", "fit", "Brier score"), rows, text_columns=(0,))
        + f"<p>The outer folds of the nested cross-validation chose: {escape_text(folds)}.</p>"
        + (f"<p>Left out:</p><ul>{dropped}</ul>" if dropped else "")
    )


def _render_examples(study: CalibrationStudy) -> str:
    rows = [
        (
            _shorten_text(question),
            _shorten_text(text),
            _shorten_text(expected),
            "right" if label else "wrong",
            f"{confidence:.3f}",
        )
        for question, text, expected, label, confidence in study.examples
    ]
    return render_table(("question", "answer", "accepted", "graded", "confidence"), rows, text_columns=(0, 1, 2))


def _render_provenance(content: CalibratorContent, study: CalibrationStudy) -> str:
    facts = {
        "model": content.model.model,
        "fingerprint": content.model.fingerprint,
        "heatbath": content.model.version,
        "questions": f"{content.data.name}, {content.data.digest}",
        **{name: value for name, value in content.settings.items() if value not in (None, [])},
        "bootstrap": f"{study.ranking.replicas} replicas over different questions",
        "created": content.created,
    }
    return render_table(("setting", "value"), [(name, str(value)) for name, value in facts.items()], text_columns=(1,))


def _shorten_text(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} …"
