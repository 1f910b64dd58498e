"""The tables of `heatbath index eval`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heatbath.estimate.paired_differences import Difference
    from heatbath.retrieval.search_evaluation import SearchEvaluation


def describe_evaluation(evaluation: SearchEvaluation) -> dict[str, Any]:
    """Return the means and differences as JSON has them."""
    return {
        "version": evaluation.version,
        "k": evaluation.k,
        "queries": evaluation.queries,
        "modes": {mode: _describe(rows) for mode, rows in evaluation.means.items()},
        "differences": {pair: _describe(rows) for pair, rows in evaluation.differences.items()},
    }


def print_evaluation(evaluation: SearchEvaluation) -> None:
    """Print the metrics of each mode, and what they differ by over the same queries."""
    from heatbath.retrieval.search_evaluation import METRICS

    for title, rows, sign in (("mode", evaluation.means, ""), ("difference", evaluation.differences, "+")):
        if rows:
            _print_row(title, [f"{name}@{evaluation.k}" for name in METRICS])
        for name, cells in rows.items():
            _print_row(name, [format_interval(cells[metric], sign) for metric in METRICS])
    print(f"{evaluation.queries} queries; 95 % intervals; version {evaluation.version[:16]}")


def _print_row(name: str, cells: list[str]) -> None:
    print(f"{name:<15}" + "".join(f"{cell:<26}" for cell in cells).rstrip())


def format_interval(estimate: Difference, sign: str = "") -> str:
    """Return a value with its interval, as in `0.512 [0.431, 0.593]`."""
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def _describe(rows: Any) -> dict[str, Any]:
    return {name: asdict(estimate) for name, estimate in rows.items()}
