"""Write the tables of docs/confidence.md from the reports of three calibrations of the default model.

heatbath calibrate --data arithmetic --count 900 --max-error 0.3 --max-tokens 16 --out build/confidence/arithmetic
heatbath calibrate --data trivia --count 900 --max-error 0.3 --max-tokens 16 --out build/confidence/trivia
heatbath calibrate --data choices --count 900 --max-error 0.3 --max-tokens 16 --out build/confidence/choices
python tools/confidence_tables.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "confidence"
PAGE = ROOT / "docs" / "confidence.md"
IMAGES = ROOT / "docs" / "img" / "confidence"
SETS = {"arithmetic": "sums of 1 to 3 digits", "trivia": "general knowledge", "choices": "one of four options"}
NUM_SIGNALS = 12


def read_report(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the report and the calibrator of a set."""
    return tuple(json.loads((REPORTS / name / file).read_text("utf-8")) for file in ("report.json", "calibrator.json"))


def format_interval(one: dict[str, Any], name: str = "value", digits: int = 3) -> str:
    """Format a value with its interval."""
    if one[name] is None:
        return "none"
    return f"{float(one[name]):.{digits}f} ({float(one['low']):.{digits}f} to {float(one['high']):.{digits}f})"


def format_table(head: list[str], rows: list[list[str]]) -> str:
    """Format a table of Markdown."""
    return "\n".join(["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]])


def render_calibration() -> str:
    """Render the metrics of held-out answers of each set."""
    rows = []
    for name, words in SETS.items():
        report, _ = read_report(name)
        metrics = {one["name"]: one for one in report["held_out"]["metrics"]}
        raw = {one["name"]: one for one in report["raw"]["metrics"]} if report["raw"] else None
        signals, fit = report["chosen"]
        rows.append(
            [
                f"{name}: {words}",
                f"{report['questions'][0]}, {report['parts'][2]} held out",
                format_interval(report["held_out"]["accuracy"]),
                f"`{' + '.join(signals)}`, {fit}",
                "none" if raw is None else format_interval(raw["ECE, equal mass"]),
                format_interval(metrics["ECE, equal mass"]),
                format_interval(metrics["ECE, equal width"]),
                format_interval(metrics["Brier"]),
                format_interval(metrics["AUROC"]),
            ]
        )
    head = [
        "set",
        "questions",
        "right",
        "chosen",
        "ECE before",
        "ECE, equal mass",
        "ECE, equal width",
        "Brier",
        "AUROC",
    ]
    return format_table(head, rows)


def render_guarantees() -> str:
    """Render the guarantee of each set and the error rate of held-out answers."""
    rows = []
    for name in SETS:
        report, _ = read_report(name)
        guarantee, realised = report["guarantee"], report["realised"]
        threshold = guarantee["threshold"]
        rows.append(
            [
                name,
                f"{guarantee['max_error']:g} with confidence {guarantee['confidence']:g}",
                "none passes" if threshold is None else f"{threshold:.3f}",
                f"{guarantee['answered']} of {guarantee['questions']}",
                f"{realised['answered']} of {report['parts'][2]}",
                "none" if not realised["answered"] else format_interval(realised["rate"]),
            ]
        )
    return format_table(
        ["set", "asked for", "threshold", "answered in the test", "answered held out", "error held out"], rows
    )


def render_ranking(name: str) -> str:
    """Render the best signals of one set, the reference and log Z."""
    report, _ = read_report(name)
    signals, reference = report["ranking"]["signals"], report["ranking"]["reference"]
    kept = [
        (place, one)
        for place, one in enumerate(signals, 1)
        if place <= NUM_SIGNALS or one["column"]["name"] == reference or one["column"]["name"].startswith("log_z")
    ]
    rows = []
    for place, one in kept:
        against = one["against_reference"]
        is_reference = one["column"]["name"] == reference
        rows.append(
            [
                str(place),
                f"`{one['column']['name']}`",
                format_interval(one, "auroc"),
                "reference" if is_reference else f"{format_interval(against)}, p = {against['p_value']:.3f}",
                f"{one['prr']:.3f}",
                "" if one["column"]["is_gauge_invariant"] else "depends",
                f"{one['column']['cost']:g}",
            ]
        )
    head = ["", "signal", "AUROC", "against the reference", "PRR", "gauge", "extra tokens"]
    return f"{len(signals)} signals.\n\n" + format_table(head, rows)


def render_log_z() -> str:
    """Render what the gauge control does to log Z."""
    rows = []
    for name in SETS:
        report, _ = read_report(name)
        ranked = {one["column"]["name"]: one for one in report["ranking"]["signals"]}
        for effect in report["gauge"]:
            if effect["name"] in ranked and effect["name"].partition("@")[0].partition(":")[0].startswith("log_z"):
                rows.append(
                    [
                        name,
                        f"`{effect['name']}`",
                        format_interval(ranked[effect["name"]], "auroc"),
                        f"{effect['auroc']:.3f}",
                        f"{effect['auroc_shifted']:.3f}",
                    ]
                )
    return format_table(["set", "signal", "AUROC, held out", "AUROC, all", "with random constants"], rows)


def replace_block(page: str, name: str, text: str) -> str:
    """Replace what stands between the markers of a block."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
    if not re.search(pattern, page, re.DOTALL):
        raise SystemExit(f"{PAGE} has no block {name}")
    return re.sub(pattern, lambda match: f"{match[1]}{text}\n{match[2]}", page, flags=re.DOTALL)


def main() -> None:
    """Replace the blocks of the page, and copy the figures."""
    blocks = {"calibration": render_calibration(), "guarantees": render_guarantees(), "log_z": render_log_z()}
    blocks |= {f"ranking {name}": render_ranking(name) for name in SETS}
    page = PAGE.read_text("utf-8")
    for name, text in blocks.items():
        page = replace_block(page, name, text)
    PAGE.write_text(page, "utf-8")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name in SETS:
        for figure in ("reliability", "ranking"):
            source = REPORTS / name / "figures" / f"{figure}.svg"
            (IMAGES / f"{name}-{figure}.svg").write_bytes(source.read_bytes())


if __name__ == "__main__":
    main()
