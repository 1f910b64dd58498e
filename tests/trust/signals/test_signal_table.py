"""The table of signals in the documentation has every signal, with what the signal says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from heatbath.trust.signals import SIGNALS, SignalSpec

PAGE = Path(__file__).parents[3] / "docs" / "signals.md"
SUFFIXES = ("_embedding", "_entailment")


def format_row(spec: SignalSpec) -> str:
    """The row of a signal in the table."""
    parameter = f"@{spec.parameter_name}" if spec.parameter_name else ""
    aggregations = f":{{{', '.join(spec.aggregations)}}}" if spec.aggregations else ""
    direction = "high" if spec.direction > 0 else "low"
    gauge = "no" if spec.is_gauge_invariant else "**yes**"
    summary = spec.summary.removesuffix(", clusters by equality").removesuffix(", by equality")
    cells = [f"`{spec.name}{parameter}{aggregations}`", summary.replace("||", "‖"), direction, gauge, spec.cost]
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", [name for name in SIGNALS if not name.endswith(SUFFIXES)])
def test_every_signal_has_its_row(name: str) -> None:
    assert format_row(SIGNALS[name]) in PAGE.read_text(encoding="utf-8").splitlines()


def test_every_signal_says_what_it_is() -> None:
    for spec in SIGNALS.values():
        assert (spec.compute is None) != (spec.compute_tokens is None), spec.name
        assert bool(spec.aggregations) == (spec.compute_tokens is not None), spec.name
        assert bool(spec.parameters) == bool(spec.parameter_name), spec.name
        assert spec.summary and spec.family and spec.cost and spec.needs, spec.name
