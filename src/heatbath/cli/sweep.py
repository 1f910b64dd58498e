"""`heatbath sweep`: the freeze and melt edges of a model, and the temperature to use."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heatbath.cli.options import (
    AllowEnd,
    ChatMode,
    Device,
    DrawWindows,
    Dtype,
    ModelName,
    ObservableNames,
    PromptsPath,
    ScorerName,
    Seed,
    SystemMessage,
)
from heatbath.cli.output_files import Force, validate_output_folder
from heatbath.cli.progress_bar import ProgressCallback, show_progress
from heatbath.errors import BadInput

if TYPE_CHECKING:
    from heatbath.models import Model
    from heatbath.phases import AnalysisOptions, PhaseMap, SweepPlan
    from heatbath.phases.cost_estimate import CostEstimate
    from heatbath.questions.scored_prompts import PromptFile, ScoredPrompt

THOROUGH_PLAN = {"length": 256, "sequences": 2048, "anchors": 28}
NUM_SCORED_TEMPERATURES = 8
"""Number of temperatures at which scored prompts are compared."""


def sweep(
    ctx: typer.Context,
    *,
    model: ModelName = "smollm2-135m",
    dtype: Dtype = None,
    device: Device = None,
    temperatures: Annotated[tuple[float, float], typer.Option(help="Lowest and highest temperature.")] = (0.2, 1.8),
    length: Annotated[int | None, typer.Option(help="Tokens per text.", show_default="128")] = None,
    sequences: Annotated[int | None, typer.Option(help="Number of texts.", show_default="448")] = None,
    batch: Annotated[int | None, typer.Option(help="Texts per batch.", show_default="64")] = None,
    anchors: Annotated[int | None, typer.Option(help="Number of temperatures.", show_default="20")] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="2048 texts of 256 tokens at 28 temperatures.")] = False,
    width: Annotated[
        float | None,
        typer.Option(help="Stop when the intervals of both edges are this narrow, in T.", show_default=False),
    ] = None,
    seed: Seed = 0,
    prompts: PromptsPath = None,
    chat: ChatMode = None,
    system: SystemMessage = None,
    window: DrawWindows = None,
    allow_end: AllowEnd = None,
    scorer: ScorerName = None,
    observable: ObservableNames = None,
    criticality: Annotated[bool, typer.Option("--criticality", help="Measure the long-range order of tags.")] = False,
    tags: Annotated[str, typer.Option(help="Tag scheme: auto, whitespace, pos or tokens.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the report and the traces.")] = Path("report"),
    resume: Annotated[bool, typer.Option("--resume", help="Continue the sweep in the folder.")] = False,
    force: Force = False,
    plan: Annotated[bool, typer.Option("--plan", help="Print the tokens and minutes it takes, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print phases.json in place of tables.")] = False,
) -> None:
    """Find where a model freezes and melts, and a temperature to use.

    Samples texts over a range of temperatures and saves them as traces; the report, its figures and phases.json are
    written to the same folder. A model with a chat template is asked in a chat, and its texts may end; --raw continues
    text. Ctrl-C keeps finished batches. With scored prompts, the most accurate temperature is found as well.
    """
    from heatbath.models import load
    from heatbath.phases import AnalysisOptions
    from heatbath.user_functions import import_function, import_named_functions

    options: dict[str, Any] = {"length": length, "sequences": sequences, "batch": batch, "anchors": anchors}
    options |= {"width": width, "low": temperatures[0], "high": temperatures[1]}
    options |= {"chat": chat, "system": system, "window": tuple(window or ()), "allow_end": allow_end, "seed": seed}
    analysis = AnalysisOptions(criticality, tags, import_named_functions(observable or []))
    file = _read_prompts(prompts, import_function(scorer) if scorer else None)
    if not plan:
        _validate_folder(out, resume, force)
    run = _Sweep(load(model, dtype=dtype, device=device), _build_plan(thorough, options), analysis, out)
    run.prepare(file)
    if plan or sys.stderr.isatty():
        _print_estimate(run, as_json if plan else None)
    if plan:
        return
    if force:
        _remove_traces(out)
    map_ = _run_with_progress(run, lambda: _format_resume_command(ctx))
    if prompts is not None:
        map_ = replace(map_, settings={**map_.settings, "prompt_source": prompts.name})
    _print_result(map_, map_.save(out), as_json)


def _build_plan(thorough: bool, options: dict[str, Any]) -> SweepPlan:
    from heatbath.phases import SweepPlan

    given = {name: value for name, value in options.items() if value is not None}
    return SweepPlan(**{**(THOROUGH_PLAN if thorough else {}), **given})


def _read_prompts(path: Path | None, scorer: Callable[..., Any] | None) -> PromptFile:
    """Return the prompts of the file, none without one."""
    from heatbath.phases.accuracy import MIN_PROMPTS
    from heatbath.questions.scored_prompts import PromptFile, read_prompt_file

    if path is None:
        if scorer is not None:
            raise BadInput("--scorer scores prompts: give --prompts as well.")
        return PromptFile((), is_scored=False)
    file = read_prompt_file(path, scorer)
    if file.is_scored and len(file.items) < MIN_PROMPTS:
        raise BadInput(
            f"{path} has {len(file.items)} prompts, too few to choose a temperature: give at least {MIN_PROMPTS}."
        )
    return file


def _print_estimate(run: _Sweep, as_json: bool | None) -> None:
    """Print the cost of a sweep: as the result of --plan, or with None as the first line of progress."""
    cost = run.estimate()
    if as_json:
        print(
            json.dumps({"texts": cost.texts, "tokens": cost.tokens, "seconds": cost.seconds, "may_end": cost.may_end})
        )
    else:
        print(f"heatbath: {run.title}: {cost}", file=sys.stderr if as_json is None else sys.stdout)


def _validate_folder(out: Path, resume: bool, force: bool) -> None:
    """Check before any work that the folder can be used."""
    if resume and force:
        raise BadInput("--resume continues what is there and --force overwrites it: give one of them.")
    if not (resume or force) and any((out / "traces").glob("*.parquet")):
        raise BadInput(
            f"{out} holds the traces of a sweep: add --resume to continue it, --force to overwrite it, "
            "or give another --out."
        )
    validate_output_folder(out, ("report.html", "phases.json"), force=resume or force)


def _remove_traces(out: Path) -> None:
    for path in [*(out / "traces").glob("batch-*.parquet"), out / "traces" / "plan.json"]:
        path.unlink(missing_ok=True)


class _Sweep:
    """A sweep with its model, plan, analysis, folder and scored prompts, and the number of texts so far."""

    def __init__(self, model: Model, plan: SweepPlan, analysis: AnalysisOptions, out: Path) -> None:
        self.model = model
        self.plan = plan
        self.analysis = analysis
        self.out = out
        self.scored_items: Sequence[ScoredPrompt] = ()
        self.num_texts = 0

    def prepare(self, file: PromptFile) -> None:
        """Add the prompts to the plan, and check plan and analysis against the model."""
        from heatbath.phases.plan_preparation import prepare_plan

        self.plan = prepare_plan(self.model, self.plan, file.items or None, fixed=self.analysis.criticality)
        self.analysis.validate(self.model)
        self.scored_items = file.items if file.is_scored else ()

    @property
    def title(self) -> str:
        """The model and how it is asked, in a few words."""
        from heatbath.phases.plan_preparation import describe_plan
        from heatbath.phases.report.sweep_description import describe_settings

        return f"sweep of {self.model.name}, {describe_settings(describe_plan(self.model, self.plan))[0]}"

    def estimate(self) -> CostEstimate:
        """Estimate tokens and time by a short probe of the model."""
        from heatbath.phases.accuracy import ScoringPlan
        from heatbath.phases.cost_estimate import estimate_cost

        scoring = ScoringPlan()
        answers = len(self.scored_items) * NUM_SCORED_TEMPERATURES * scoring.samples
        return estimate_cost(self.model, self.plan, answers=answers, answer_tokens=scoring.max_tokens)

    def run_sweep(self, advance: ProgressCallback) -> PhaseMap:
        """Sample the texts, or read those of an earlier run, and analyze them."""
        from heatbath import phases

        def count(done: int, total: int) -> None:
            self.num_texts = done
            advance(done, total)

        return phases.sweep(self.model, plan=self.plan, analysis=self.analysis, out=self.out, progress=count)

    def add_best_temperatures(self, map_: PhaseMap, advance: ProgressCallback) -> PhaseMap:
        """Find the most accurate temperatures, and add them to the advice."""
        import numpy as np

        from heatbath.phases.accuracy import grade_prompts

        temperatures = np.linspace(self.plan.low, self.plan.high, NUM_SCORED_TEMPERATURES).round(2).tolist()
        result = grade_prompts(
            self.model,
            self.scored_items,
            temperatures,
            progress=advance,
            seed=self.plan.seed,
            chat=self.plan.chat,
            system=self.plan.system,
            window=self.plan.window,
        )
        return replace(map_, advice=replace(map_.advice, best=result.best, wrong=result.wrong))


def _run_with_progress(run: _Sweep, resume_command: Callable[[], str]) -> PhaseMap:
    try:
        with show_progress("texts", "finding edges") as advance:
            map_ = run.run_sweep(advance)
        if run.scored_items:
            with show_progress("answers") as advance:
                map_ = run.add_best_temperatures(map_, advance)
    except KeyboardInterrupt:
        print(
            f"heatbath: {run.num_texts} of {run.plan.sequences} texts are saved: continue with {resume_command()}",
            file=sys.stderr,
        )
        raise
    return map_


def _format_resume_command(ctx: typer.Context) -> str:
    """Return the command line that continues this sweep."""
    words = ["heatbath", "sweep"]
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "")
        source = ctx.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE" or parameter.name in ("resume", "out"):
            continue
        option = max(parameter.opts, key=len)
        if isinstance(value, bool):
            words += [option if value else max(parameter.secondary_opts, key=len)]
        elif isinstance(value, list):
            words += [word for entry in value for word in (option, str(entry))]
        else:
            words += [option, *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join([*words, "--resume", "--out", str(ctx.params["out"])])


def _print_result(map_: PhaseMap, page: Path, as_json: bool) -> None:
    if as_json:
        from heatbath.phases.result_file import PHASE_MAP_FORMAT

        print(json.dumps(PHASE_MAP_FORMAT.dump(map_), ensure_ascii=False, allow_nan=False))
        print(f"heatbath: the report is {page}", file=sys.stderr)
        return
    from rich.console import Console

    from heatbath.cli.phase_map_summary import print_summary

    console = Console(highlight=False, markup=False)
    print_summary(map_, console)
    console.print(f"\nThe report is {page}", soft_wrap=True)
