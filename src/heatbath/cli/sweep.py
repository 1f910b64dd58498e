"""`heatbath sweep`: where a model freezes, where it melts, and which temperature to use."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.models import Model
    from heatbath.phases import AnalysisOptions, PhaseMap, SweepPlan
    from heatbath.phases.scored_prompts import ScoredPrompt

ProgressCallback = Callable[[int, int], None]

THOROUGH_PLAN = {"length": 256, "sequences": 2048, "anchors": 28}
NUM_SCORED_TEMPERATURES = 8
"""Temperatures that prompts with references are scored at."""


def sweep(
    ctx: typer.Context,
    *,
    model: Annotated[str, typer.Option(help="Catalog name, hub id, folder or .gguf file.")] = "smollm2-135m",
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16.", show_default=False)] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.", show_default=False)] = None,
    temperatures: Annotated[tuple[float, float], typer.Option(help="Lowest and highest.")] = (0.2, 1.8),
    length: Annotated[int | None, typer.Option(help="Tokens a text.", show_default="128")] = None,
    sequences: Annotated[int | None, typer.Option(help="Texts in all.", show_default="448")] = None,
    batch: Annotated[int | None, typer.Option(help="Texts drawn at once.", show_default="64")] = None,
    anchors: Annotated[int | None, typer.Option(help="Temperatures to draw at.", show_default="20")] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="2048 texts of 256 tokens, 28 temperatures.")] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same texts.")] = 0,
    prompts: Annotated[
        Path | None, typer.Option(help='JSON lines: "prompt", perhaps "answer" or "regex".', show_default=False)
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(help="module:function of prompt and text, 0 to 1.", show_default=False)
    ] = None,
    observable: Annotated[
        list[str] | None, typer.Option(help="name=module:function of a text; can be repeated.", show_default=False)
    ] = None,
    criticality: Annotated[bool, typer.Option("--criticality", help="Long-range order of tags, too.")] = False,
    tags: Annotated[str, typer.Option(help="auto, whitespace, pos or tokens.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the report and the traces.")] = Path("report"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in the folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print phases.json instead of a table.")] = False,
) -> None:
    """Sweep the temperature: where a model freezes and melts, and which temperature to use.

    Texts are drawn over a range of temperatures and kept as traces; the report, its figures and phases.json go to the
    same folder. Ctrl-C keeps what is done. With references the best temperature by accuracy is found as well.
    """
    from heatbath.cli.import_function import import_function, import_named_functions
    from heatbath.models import load
    from heatbath.phases import AnalysisOptions

    given = {"length": length, "sequences": sequences, "batch": batch, "anchors": anchors}
    plan = _build_plan(temperatures, seed, THOROUGH_PLAN if thorough else {}, given)
    look = AnalysisOptions(criticality, tags, import_named_functions(observable or []))
    items, scored = _read_prompts(prompts, import_function(scorer) if scorer else None)
    _validate_folder(out, resume)
    run = _Sweep(load(model, dtype=dtype, device=device), plan, look, out, items if scored else [])
    run.prepare(items)
    chart = _run_with_progress(run, lambda: _format_resume_command(ctx))
    chart = replace(chart, settings={**chart.settings, "dtype": dtype, "device": device})
    _print_result(chart, chart.save(out), as_json)


def _build_plan(
    temperatures: tuple[float, float], seed: int, base: dict[str, int], options: dict[str, int | None]
) -> SweepPlan:
    from heatbath.phases import SweepPlan

    asked: dict[str, Any] = {**base, **{name: value for name, value in options.items() if value is not None}}
    return SweepPlan(low=temperatures[0], high=temperatures[1], seed=seed, **asked)


def _read_prompts(path: Path | None, scorer: Callable[..., Any] | None) -> tuple[list[ScoredPrompt], bool]:
    """The prompts, and whether there is something to score them by."""
    from heatbath.phases.accuracy import MIN_PROMPTS
    from heatbath.phases.scored_prompts import read_scored_prompts

    if path is None:
        if scorer is not None:
            raise BadInput("--scorer scores prompts: give --prompts as well.")
        return [], False
    items = read_scored_prompts(path, scorer or (lambda prompt, text: 0.0))
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip())
    scored = scorer is not None or any({"answer", "regex"} & line.keys() for line in lines)
    if scored and len(items) < MIN_PROMPTS:
        raise BadInput(
            f"{path} has {len(items)} prompts, too few to choose a temperature by: give at least {MIN_PROMPTS}."
        )
    return (read_scored_prompts(path) if scored and scorer is None else items), scored


def _validate_folder(out: Path, resume: bool) -> None:
    """Refuse before any work what would fail after it."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: give a folder for --out.")
    if not resume and any((out / "traces").glob("*.parquet")):
        raise BadInput(f"{out} holds the traces of a sweep: add --resume to go on with it, or give another --out.")
    out.mkdir(parents=True, exist_ok=True)
    probe = out / ".writable"
    probe.touch()
    probe.unlink()


class _Sweep:
    """One sweep: what is drawn, looked for and scored, and how far it got."""

    def __init__(
        self, model: Model, plan: SweepPlan, look: AnalysisOptions, out: Path, scored: Sequence[ScoredPrompt]
    ) -> None:
        self.model = model
        self.plan = plan
        self.look = look
        self.out = out
        self.scored_items = scored
        self.num_drawn = 0

    def prepare(self, items: Sequence[ScoredPrompt]) -> None:
        """Take over the prompts, and find what cannot be done before it is tried."""
        if items:
            self.plan = replace(self.plan, prompts=tuple(_encode_prompt(self.model, item.prompt) for item in items))
        self.plan.validate(self.model)
        self.look.validate(self.model)

    def run_sweep(self, advance: ProgressCallback) -> PhaseMap:
        """Draw, or read, and examine."""
        from heatbath.phases import sweep as swept

        def count(done: int, wanted: int) -> None:
            self.num_drawn = done
            advance(done, wanted)

        return swept(self.model, plan=self.plan, analysis=self.look, out=self.out, progress=count)

    def score_prompts(self, chart: PhaseMap, advance: ProgressCallback) -> PhaseMap:
        """The best temperatures by accuracy, added to the advice."""
        import numpy as np

        from heatbath.phases.accuracy import score_prompts

        where = np.linspace(self.plan.low, self.plan.high, NUM_SCORED_TEMPERATURES).round(2).tolist()
        best = score_prompts(self.model, self.scored_items, where, progress=advance, seed=self.plan.seed)
        return replace(chart, advice=replace(chart.advice, best=best))


def _encode_prompt(model: Model, prompt: Any) -> tuple[int, ...]:
    from heatbath.models.base import encode_chat

    if isinstance(prompt, str):
        return tuple(model.encode(prompt))
    return tuple(encode_chat(model, prompt))


def _run_with_progress(run: _Sweep, resume_command: Callable[[], str]) -> PhaseMap:
    try:
        with _progress_bar("texts") as advance:
            chart = run.run_sweep(advance)
        if run.scored_items:
            with _progress_bar("answers") as advance:
                chart = run.score_prompts(chart, advance)
    except KeyboardInterrupt:
        print(
            f"heatbath: {run.num_drawn} of {run.plan.sequences} texts are kept: {resume_command()} goes on.",
            file=sys.stderr,
        )
        raise
    return chart


def _format_resume_command(ctx: typer.Context) -> str:
    """The command that goes on with this one."""
    words = ["heatbath", "sweep"]
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        source = ctx.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE" or parameter.name in ("resume", "out"):
            continue
        option = max(parameter.opts, key=len)
        if isinstance(value, bool):
            words += [option]
        elif isinstance(value, list):
            words += [word for entry in value for word in (option, str(entry))]
        else:
            words += [option, *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join([*words, "--resume", "--out", str(ctx.params["out"])])


@contextmanager
def _progress_bar(label: str) -> Iterator[ProgressCallback]:
    """A bar with the time left on stderr, when a person is there to see it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, wanted: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, wanted: int) -> None:
            after = "finding edges" if label == "texts" else label
            bar.update(task, completed=done, total=wanted, description=label if done < wanted else after)

        yield advance


def _print_result(chart: PhaseMap, page: Path, as_json: bool) -> None:
    if as_json:
        from heatbath.phases.report.serialization import dump_phase_map

        print(json.dumps(dump_phase_map(chart), ensure_ascii=False, allow_nan=False))
        print(f"heatbath: the report is {page}", file=sys.stderr)
        return
    from rich.console import Console

    from heatbath.cli.phase_map_summary import print_summary

    console = Console(highlight=False, markup=False)
    print_summary(chart, console)
    console.print(f"\nThe report is {page}", soft_wrap=True)
