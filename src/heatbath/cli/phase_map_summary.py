"""The summary of a phase map in the terminal: the verdicts, and a few curves at five temperatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from heatbath.phases import PhaseMap

CURVE_LABELS = {
    "loop fraction": "loops (share)",
    "entropy": "entropy",
    "heat capacity": "heat capacity",
    "surprisal at T = 1": "surprisal, T = 1",
}
COLOURS = {"freeze": "blue", "melt": "red", "use": "green", "best": "green", "order": "magenta", "turn": "yellow"}


def print_summary(map_: PhaseMap, console: Console) -> None:
    """Print edges with intervals, the recommended range and a few curves."""
    from heatbath.pages.html_parts import replace_control_characters
    from heatbath.phases.report.sweep_description import describe_sweep
    from heatbath.phases.report.verdicts import to_sentence

    title = f"Phase map of {map_.model.model}: {map_.budget.sequences} texts, {map_.budget.tokens:,} tokens"
    console.print(Text(replace_control_characters(title), style="bold"))
    for line in describe_sweep(map_):
        console.print(Text(replace_control_characters(to_sentence(line)), style="dim"))
    console.print(_build_verdict_table(map_))
    if map_.advice.wrong:
        prompts = "prompt has" if len(map_.advice.wrong) == 1 else "prompts have"
        console.print(f"\n{len(map_.advice.wrong)} {prompts} answers that were scored wrong: the report shows them.")
    console.print(Text("\nOver the whole range, in nats per token, with 95 % bands:"))
    console.print(_build_curve_table(map_))


def _build_verdict_table(map_: PhaseMap) -> Table:
    from heatbath.pages.html_parts import replace_control_characters
    from heatbath.phases.report.verdicts import build_verdicts

    table = Table(box=None, show_header=False, pad_edge=False)
    for verdict in build_verdicts(map_):
        head = Text(replace_control_characters(verdict.title), style=f"bold {COLOURS[verdict.kind]}", no_wrap=True)
        table.add_row(
            head,
            Text(_break_at_bracket(verdict.statement), style="bold", no_wrap=True),
            Text(replace_control_characters(verdict.reason), style="dim"),
        )
    return table


def _build_curve_table(map_: PhaseMap) -> Table:
    """Build the table of curves: values with their 95 % bands."""
    from heatbath.phases.report.verdicts import format_with_band

    grid = map_.curves[0].temperature
    curves = [map_[name] for name in CURVE_LABELS]
    table = Table("T", *CURVE_LABELS.values(), box=None, pad_edge=False, header_style="dim")
    for column in table.columns:
        column.justify, column.no_wrap = "right", True
    for k in np.linspace(0, len(grid) - 1, 5).round().astype(int):
        values = [format_with_band(float(curve.value[k]), *curve.band[:, k].tolist()) for curve in curves]
        table.add_row(f"{grid[k]:.2f}", *map(_break_at_bracket, values))
    return table


def _break_at_bracket(text: str) -> str:
    """Put what is in brackets on a line of its own, so that a table fits into 80 columns."""
    return text.replace(" (", "\n(")
