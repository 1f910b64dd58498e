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
    from heatbath.phases import Look, PhaseMap, Plan
    from heatbath.phases.items import Item

Progress = Callable[[int, int], None]

THOROUGH = {"length": 256, "sequences": 2048, "anchors": 28}
SCORED_AT = 8
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
    from heatbath.cli.functions import function, named
    from heatbath.models import load
    from heatbath.phases import Look

    given = {"length": length, "sequences": sequences, "batch": batch, "anchors": anchors}
    plan = _plan(temperatures, seed, THOROUGH if thorough else {}, given)
    look = Look(criticality, tags, named(observable or []))
    items, scored = _items(prompts, function(scorer) if scorer else None)
    _check_folder(out, resume)
    run = _Run(load(model, dtype=dtype, device=device), plan, look, out, items if scored else [])
    run.check(items)
    chart = _driven(run, lambda: _again(ctx))
    chart = replace(chart, settings={**chart.settings, "dtype": dtype, "device": device})
    _tell(chart, chart.save(out), as_json)


def _plan(temperatures: tuple[float, float], seed: int, base: dict[str, int], given: dict[str, int | None]) -> Plan:
    from heatbath.phases import Plan

    asked: dict[str, Any] = {**base, **{name: value for name, value in given.items() if value is not None}}
    return Plan(low=temperatures[0], high=temperatures[1], seed=seed, **asked)


def _items(path: Path | None, scorer: Callable[..., Any] | None) -> tuple[list[Item], bool]:
    """The prompts, and whether there is something to score them by."""
    from heatbath.phases.items import read_items
    from heatbath.phases.scoring import LEAST

    if path is None:
        if scorer is not None:
            raise BadInput("--scorer scores prompts: give --prompts as well.")
        return [], False
    items = read_items(path, scorer or (lambda prompt, text: 0.0))
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip())
    scored = scorer is not None or any({"answer", "regex"} & line.keys() for line in lines)
    if scored and len(items) < LEAST:
        raise BadInput(f"{path} has {len(items)} prompts, too few to choose a temperature by: give at least {LEAST}.")
    return (read_items(path) if scored and scorer is None else items), scored


def _check_folder(out: Path, resume: bool) -> None:
    """Refuse before any work what would fail after it."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is a file: give a folder for --out.")
    if not resume and any((out / "traces").glob("*.parquet")):
        raise BadInput(f"{out} holds the traces of a sweep: add --resume to go on with it, or give another --out.")
    out.mkdir(parents=True, exist_ok=True)
    probe = out / ".writable"
    probe.touch()
    probe.unlink()


class _Run:
    """One sweep: what is drawn, looked for and scored, and how far it got."""

    def __init__(self, model: Model, plan: Plan, look: Look, out: Path, scored: Sequence[Item]) -> None:
        self.model = model
        self.plan = plan
        self.look = look
        self.out = out
        self.scored = scored
        self.drawn = 0

    def check(self, items: Sequence[Item]) -> None:
        """Take over the prompts, and find what cannot be done before it is tried."""
        if items:
            self.plan = replace(self.plan, prompts=tuple(_tokens(self.model, item.prompt) for item in items))
        self.plan.check(self.model)
        self.look.check(self.model)

    def sweep(self, advance: Progress) -> PhaseMap:
        """Draw, or read, and examine."""
        from heatbath.phases import sweep as swept

        def count(done: int, wanted: int) -> None:
            self.drawn = done
            advance(done, wanted)

        return swept(self.model, plan=self.plan, look=self.look, out=self.out, progress=count)

    def score(self, chart: PhaseMap, advance: Progress) -> PhaseMap:
        """The best temperatures by accuracy, added to the advice."""
        import numpy as np

        from heatbath.phases.scoring import score_prompts

        where = np.linspace(self.plan.low, self.plan.high, SCORED_AT).round(2).tolist()
        best = score_prompts(self.model, self.scored, where, progress=advance, seed=self.plan.seed)
        return replace(chart, advice=replace(chart.advice, best=best))


def _tokens(model: Model, prompt: Any) -> tuple[int, ...]:
    if isinstance(prompt, str):
        return tuple(model.encode(prompt))
    template = getattr(model, "chat", None)
    if template is None:
        raise BadInput(f"{model.name} has no chat template: give prompts instead of messages.")
    return tuple(template(prompt))


def _driven(run: _Run, again: Callable[[], str]) -> PhaseMap:
    try:
        with _progress("texts") as advance:
            chart = run.sweep(advance)
        if run.scored:
            with _progress("answers") as advance:
                chart = run.score(chart, advance)
    except KeyboardInterrupt:
        print(f"heatbath: {run.drawn} of {run.plan.sequences} texts are kept: {again()} goes on.", file=sys.stderr)
        raise
    return chart


def _again(ctx: typer.Context) -> str:
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
def _progress(what: str) -> Iterator[Progress]:
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
        task = bar.add_task(what, total=None)

        def advance(done: int, wanted: int) -> None:
            after = "finding edges" if what == "texts" else what
            bar.update(task, completed=done, total=wanted, description=what if done < wanted else after)

        yield advance


def _tell(chart: PhaseMap, page: Path, as_json: bool) -> None:
    if as_json:
        from heatbath.phases.store import dump

        print(json.dumps(dump(chart), ensure_ascii=False, allow_nan=False))
        print(f"heatbath: the report is {page}", file=sys.stderr)
        return
    from rich.console import Console

    from heatbath.cli.summary import show

    console = Console(highlight=False, markup=False)
    show(chart, console)
    console.print(f"\nThe report is {page}", soft_wrap=True)
