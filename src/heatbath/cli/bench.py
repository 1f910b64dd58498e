"""`heatbath bench`: each target with both figures, the ratio, and whether it is met."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from heatbath.bench.base import GROUPS, Line, run


def bench(
    groups: Annotated[
        list[str] | None, typer.Argument(metavar="[GROUP]...", help=f"Any of: {', '.join(GROUPS)}.", show_default="all")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: the machine and the lines.")] = False,
) -> None:
    """Measure speed and memory against their targets.

    The two sides of a comparison take turns in one run; a figure is the median of its calls.
    """
    from heatbath.bench.machine import describe

    lines = run(groups or ())
    if as_json:
        found = [dataclasses.asdict(line) for line in lines]
        typer.echo(json.dumps({"machine": describe(), "lines": found}))
        return
    typer.echo(machine_line(describe()))
    missed = [line.name for line in map(_show, lines) if not line.met]
    typer.echo(f"missed: {', '.join(missed)}" if missed else "every target met")


def machine_line(machine: dict[str, object]) -> str:
    """The machine in one line."""
    gpu = machine["gpu"] or "no GPU: its lines are not run"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {gpu}, "
        f"Python {machine['python']}, heatbath {machine['heatbath']}"
    )


def _show(line: Line) -> Line:
    theirs = "" if line.theirs is None else f"against {_figure(line.theirs, line.unit)}"
    ratio = "" if line.ratio is None else f"{line.ratio:.2f} x"
    verdict = "met" if line.met else "MISSED"
    ours = _figure(line.ours, line.unit)
    typer.echo(f"{line.name:<52} {ours:>14} {theirs:<23} {ratio:>8}  {line.target:<10} {verdict}")
    return line


def _figure(value: float, unit: str) -> str:
    if unit == "s" and value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:,.4g} {unit}"
