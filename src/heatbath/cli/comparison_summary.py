"""The summary of a comparison in the terminal: the verdicts, and a few differences at five temperatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from heatbath.cli.phase_map_summary import CURVE_LABELS

if TYPE_CHECKING:
    from heatbath.phases.comparison import Comparison

COLOURS = {"use": "green", "order": "magenta", "freeze": "blue", "melt": "red", "turn": "yellow"}
NUM_ROWS = 5


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the sides, the verdicts, a few differences and the notes."""
    from heatbath.pages.html_parts import replace_control_characters
    from heatbath.phases.comparison.comparison_page import format_budget

    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        console.print(Text(replace_control_characters(f"{letter}: {side.label}"), style="bold"))
    console.print(Text(format_budget(comparison), style="dim"))
    console.print(_build_verdict_table(comparison))
    console.print(Text("\nB − A in nats per token, with half the width of the 95 % intervals:"))
    console.print(_build_difference_table(comparison))
    for note in comparison.notes:
        console.print(Text(note, style="dim"))


def _build_verdict_table(comparison: Comparison) -> Table:
    from heatbath.pages.html_parts import replace_control_characters
    from heatbath.phases.comparison.comparison_verdicts import build_comparison_verdicts

    table = Table(box=None, show_header=False, pad_edge=False)
    for verdict in build_comparison_verdicts(comparison):
        table.add_row(
            Text(verdict.title, style=f"bold {COLOURS[verdict.kind]}", no_wrap=True),
            Text(verdict.statement, style="bold"),
            Text(replace_control_characters(verdict.reason), style="dim"),
        )
    return table


def _build_difference_table(comparison: Comparison) -> Table:
    """Build the table of differences, with half the width of their intervals."""
    from heatbath.phases.report.verdicts import format_with_error

    names = {curve.name for curve in comparison.curves}
    shown = {name: label for name, label in CURVE_LABELS.items() if name in names and name != "heat capacity"}
    curves = [comparison[name] for name in shown]
    table = Table("T", *shown.values(), box=None, pad_edge=False, header_style="dim")
    table.columns[0].min_width = 4
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    grid = comparison.curves[0].temperature
    for k in np.linspace(0, len(grid) - 1, NUM_ROWS).round().astype(int):
        values = [format_with_error(float(c.difference[k]), float(c.high[k] - c.low[k]) / 2) for c in curves]
        table.add_row(f"{grid[k]:.2f}", *values)
    return table
