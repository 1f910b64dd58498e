"""Sweep the models of docs/gallery.md, draw their maps, and write the page.

    python tools/gallery.py                  sweep what has no report yet, then write the page
    python tools/gallery.py urn markov       only these, again
    python tools/gallery.py --page           only the page, from the reports that are there

Reports stay in build/gallery. Sweeps of neural models take minutes each; an interrupted one continues.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import heatbath as hb
from heatbath.models.exact.base import ExactModel, log_probabilities
from heatbath.pages.figure_format import figure_style
from heatbath.phases import AnalysisOptions, SweepPlan, sweep
from heatbath.phases.report import plot_style
from heatbath.phases.report.sweep_description import describe_sweep
from heatbath.phases.report.verdicts import build_verdicts, to_sentence

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "gallery"
IMAGES = ROOT / "docs" / "img" / "gallery"
PAGE = ROOT / "docs" / "gallery.md"

SMALL = {"length": 64, "sequences": 128, "batch": 64}
"""A small sweep of a neural model: 128 texts of 64 tokens. The default has 448 of 128."""


@dataclass(frozen=True)
class Exhibit:
    """A model of the gallery: how it is built and swept, what to look at, and the command for the same map."""

    title: str
    build: Callable[[], hb.Model]
    remark: str
    command: str
    plan: dict[str, Any] = field(default_factory=dict)
    criticality: bool = False


def _small_command(options: str) -> str:
    numbers = " ".join(f"--{name} {value}" for name, value in SMALL.items())
    return f"heatbath sweep {options} {numbers}"


EXHIBITS = {
    "smollm2-chat": Exhibit(
        "SmolLM2-135M-Instruct in a chat, float32",
        lambda: hb.load("smollm2-135m", dtype="float32"),
        "Prompts are the built-in questions as user turns, and texts may end. Cold answers end or repeat themselves, "
        "hot ones no longer end.",
        _small_command("--dtype float32"),
        SMALL,
    ),
    "smollm2-text": Exhibit(
        "SmolLM2-135M-Instruct as a plain language model, float32",
        lambda: hb.load("smollm2-135m", dtype="float32"),
        "The same weights continue the start of a document, with the end of text forbidden.",
        _small_command("--raw --dtype float32"),
        {**SMALL, "chat": False},
    ),
    "smollm2-text-bfloat16": Exhibit(
        "SmolLM2-135M-Instruct as a plain language model, bfloat16",
        lambda: hb.load("smollm2-135m", dtype="bfloat16"),
        "The sweep above in half the precision. `heatbath compare smollm2-135m:float32 :bfloat16 --raw` measures the "
        "difference itself, from the same random numbers.",
        _small_command("--raw --dtype bfloat16"),
        {**SMALL, "chat": False},
    ),
    "gemma3-text": Exhibit(
        "Gemma 3 270M, the base model, float32",
        lambda: hb.load("gemma3-270m", dtype="float32"),
        "Under Google's terms of use, which `heatbath models pull gemma3-270m` shows; only the figure is here.",
        _small_command("--model gemma3-270m --dtype float32"),
        SMALL,
    ),
    "urn": Exhibit(
        "An urn with a phase transition at T = 1",
        lambda: hb.UrnModel(J=1.0),
        "Two tokens, each more likely the more often it was drawn. Below T = J = 1 one takes over, above it both stay: "
        "the order ends at a temperature that is known exactly, which the map must find. Cold texts of a single token "
        "are cycles, but a longer text breaks them, so that there is no freezing edge to report.",
        "python tools/gallery.py urn",
        {"length": 256, "sequences": 4200, "batch": 1400, "temperatures": tuple(np.linspace(0.5, 1.8, 14).tolist())},
        criticality=True,
    ),
    "markov": Exhibit(
        "A Markov chain of eight states",
        lambda: hb.MarkovModel.random(0, 8, scale=2.0),
        "Random energies, a memory of one token and therefore no transition at any T > 0: the map must report no edge "
        "that persists. The heat capacity has a broad maximum, as any finite set of levels has.",
        "python tools/gallery.py markov",
        {"low": 0.2, "high": 1.8, "length": 128, "sequences": 448},
    ),
}

HEAD = """# A gallery of phase maps

Every map below was made by the command above it; `python tools/gallery.py` makes all of them.
[The phase map of the default model](phase-map.md) is a full-size one, and
[how to choose a temperature](choosing-a-temperature.md) describes how to read a map.
"""
SMALL_SWEEPS = (
    f"Sweeps of neural models are small here, {SMALL['sequences']} texts of up to {SMALL['length']} tokens each: "
    "intervals are wide, and an edge that is not found may be found with more texts."
)


def make_report(name: str) -> None:
    """Sweep one model into build/gallery/NAME; traces of an interrupted sweep are continued."""
    exhibit = EXHIBITS[name]
    folder = REPORTS / name
    folder.mkdir(parents=True, exist_ok=True)

    def show(done: int, total: int) -> None:
        print(f"\r{name}: {done} of {total} texts", end="", file=sys.stderr, flush=True)

    plan, analysis = SweepPlan(**exhibit.plan), AnalysisOptions(criticality=exhibit.criticality)
    model = exhibit.build()
    out = None if isinstance(model, ExactModel) else folder  # exact models are faster than the disk
    chart = sweep(model, plan=plan, analysis=analysis, out=out, progress=show)
    print(file=sys.stderr)
    chart.save(folder)
    shutil.rmtree(folder / "traces", ignore_errors=True)


def render_section(name: str) -> str:
    """Copy the figure of one report, and render its section of the page."""
    exhibit, chart = EXHIBITS[name], hb.PhaseMap.load(REPORTS / name)
    IMAGES.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(REPORTS / name / "figures" / "overview.png", IMAGES / f"{name}.png")
    lines = "\n".join(_wrap(f"- {v.title}: **{v.statement}**. {v.reason}", indent="  ") for v in _verdicts(chart))
    swept = " ".join(to_sentence(line) for line in describe_sweep(chart))
    budget = f"{chart.budget.sequences} texts, {chart.budget.tokens:,} tokens, {chart.budget.seconds:,.0f} seconds."
    parts = [
        f"## {exhibit.title}",
        f"```sh\n{exhibit.command}\n```",
        _wrap(exhibit.remark),
        _wrap(f"{swept} {budget}"),
        lines,
        f"![Phase map of {exhibit.title}](img/gallery/{name}.png)",
    ]
    return "\n\n".join(parts) + "\n"


def _wrap(text: str, *, indent: str = "") -> str:
    return textwrap.fill(text, 128, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _verdicts(chart: hb.PhaseMap) -> list[Any]:
    return [verdict for verdict in build_verdicts(chart) if verdict.kind in ("freeze", "use", "melt", "order")]


def render_random_energy() -> str:
    """Draw the exact entropy of a random energy model, which is too short to sweep, and render its section."""
    model = hb.RandomEnergyModel(16, seed=0)
    temperatures = np.linspace(0.2, 1.8, 161)
    critical = 1 / model.critical_beta
    scaled = [log_probabilities(model.sequence_energies, 1 / t) for t in temperatures]
    exact = [-float(np.exp(log_p) @ log_p) / model.length for log_p in scaled]
    limit = np.where(temperatures > critical, np.log(2) - 1 / (4 * temperatures**2), 0.0)
    with figure_style("random-energy"):
        figure, (axis,) = plot_style.build_panels(1, 3.4)
        plot_style.format_temperature_axis([axis], temperatures)
        axis.plot(temperatures, limit, color=plot_style.COLOURS["soft"], ls="--", label="infinitely long")
        axis.plot(temperatures, exact, color=plot_style.COLOURS["curve"], label="all 65 536 sequences of 16 tokens")
        axis.axvline(critical, color=plot_style.COLOURS["freeze"], lw=1.1)
        axis.set_title(f"Entropy of a random energy model; it freezes at T = {critical:.2f}")
        axis.set_ylabel("nats per token")
        axis.legend(loc="best")
        figure.savefig(IMAGES / "random-energy.png", dpi=160, metadata={"Software": None})
    return (
        "## A random energy model, exactly\n\n```sh\npython tools/gallery.py --page\n```\n\n"
        + _wrap(
            "Every sequence of 16 tokens has its own Gaussian energy (Derrida 1981). The model is too short for a "
            "sweep, which needs 32 tokens, and small enough to enumerate: below its critical temperature a few "
            "sequences have all the probability, and the entropy per token of long ones is zero."
        )
        + "\n\n"
        "![Entropy per token of a random energy model over temperature](img/gallery/random-energy.png)\n"
    )


def write_page() -> None:
    """Write docs/gallery.md from the reports that exist, in the order of EXHIBITS."""
    names = [name for name in EXHIBITS if (REPORTS / name / "phases.json").is_file()]
    has_small = any(EXHIBITS[name].plan.items() >= SMALL.items() for name in names)
    head = [HEAD, f"{_wrap(SMALL_SWEEPS)}\n"] if has_small else [HEAD]
    PAGE.write_text("\n".join([*head, *map(render_section, names), render_random_energy()]), encoding="utf-8")
    print(f"wrote {PAGE} with {len(names)} maps; without a report: {', '.join(EXHIBITS.keys() - names) or 'none'}")


def main(arguments: list[str]) -> int:
    """Make reports and the page."""
    unknown = [name for name in arguments if name not in (*EXHIBITS, "--page")]
    if unknown:
        print(f"gallery: there is no {unknown[0]!r}: choose from {', '.join(EXHIBITS)}", file=sys.stderr)
        return 2
    if "--page" not in arguments:
        missing = [name for name in EXHIBITS if not (REPORTS / name / "phases.json").is_file()]
        for name in arguments or missing:
            shutil.rmtree(REPORTS / name, ignore_errors=True) if name in arguments else None
            make_report(name)
    write_page()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
