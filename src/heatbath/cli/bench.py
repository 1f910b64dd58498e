"""`heatbath bench`: measured figures, their targets, and which targets are met."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated

import typer

from heatbath.bench.base import GROUPS, BenchmarkLine, run_groups


def bench(
    groups: Annotated[
        list[str] | None, typer.Argument(metavar="[GROUP]...", help=f"Any of: {', '.join(GROUPS)}.", show_default="all")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the machine and the lines as one JSON object.")
    ] = False,
) -> None:
    """Measure speed and memory against their targets.

    The two sides of a comparison alternate in one run; a figure is the median of its calls.
    """
    from heatbath.bench.machine import describe_machine

    lines = run_groups(groups or ())
    if as_json:
        rows = [dataclasses.asdict(line) for line in lines]
        typer.echo(json.dumps({"machine": describe_machine(), "lines": rows}))
        return
    typer.echo(format_machine(describe_machine()))
    missed = [line.name for line in map(_print_line, lines) if not line.met]
    typer.echo(f"missed: {', '.join(missed)}" if missed else "all targets met")


def format_machine(machine: dict[str, object]) -> str:
    """Describe the machine in one line."""
    gpu = machine["gpu"] or "no GPU (its lines are skipped)"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {gpu}, "
        f"Python {machine['python']}, heatbath {machine['heatbath']}"
    )


def _print_line(line: BenchmarkLine) -> BenchmarkLine:
    theirs = "" if line.theirs is None else f"against {_format_value(line.theirs, line.unit)}"
    ratio = "" if line.ratio is None else f"{line.ratio:.2f} x"
    verdict = "met" if line.met else "MISSED"
    ours = _format_value(line.ours, line.unit)
    typer.echo(f"{line.name:<52} {ours:>14} {theirs:<23} {ratio:>8}  {line.target:<10} {verdict}")
    return line


def _format_value(value: float, unit: str) -> str:
    if unit == "s" and value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:,.4g} {unit}"
