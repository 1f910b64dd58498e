"""A phase map in the terminal: the verdict, and a few curves at five temperatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from heatbath.phases import PhaseMap

SHOWN = {
    "loop fraction": "loops (share)",
    "entropy": "entropy",
    "heat capacity": "heat capacity",
    "surprisal at T = 1": "surprisal, T = 1",
}
SURE = 1.96
COLOURS = {"freeze": "blue", "melt": "red", "use": "green", "best": "green", "order": "magenta", "turn": "yellow"}


def show(map_: PhaseMap, console: Console) -> None:
    """Print edges with intervals, the recommended range and a few curves."""
    from heatbath.phases.words import printable

    title = f"Phase map of {map_.model.model}: {map_.budget.sequences} texts, {map_.budget.tokens:,} tokens"
    console.print(Text(printable(title), style="bold"))
    console.print(_verdict(map_))
    console.print(Text("\nThe whole range, in nats per token, with 95 % bands:"))
    console.print(_curves(map_))


def _verdict(map_: PhaseMap) -> Table:
    from heatbath.phases.words import printable, verdicts

    table = Table(box=None, show_header=False, pad_edge=False)
    for verdict in verdicts(map_):
        head = Text(printable(verdict.title), style=f"bold {COLOURS[verdict.kind]}", no_wrap=True)
        table.add_row(head, Text(verdict.said, style="bold", no_wrap=True), Text(printable(verdict.why), style="dim"))
    return table


def _curves(map_: PhaseMap) -> Table:
    """Values with half the width of their 95 % bands; all but the first are nats per token."""
    from heatbath.phases.words import rounded

    grid = map_.curves[0].temperature
    curves = [map_[name] for name in SHOWN]
    table = Table("T", *SHOWN.values(), box=None, pad_edge=False, header_style="dim")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for k in np.linspace(0, len(grid) - 1, 5).round().astype(int):
        values = [rounded(float(curve.value[k]), SURE * float(curve.stderr[k])) for curve in curves]
        table.add_row(f"{grid[k]:.2f}", *values)
    return table
