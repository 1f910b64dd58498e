"""The startup group measures what it says, without judging this machine."""

from __future__ import annotations

from heatbath.bench import startup


def test_the_two_lines_are_in_seconds_of_fresh_processes() -> None:
    lines = list(startup.lines(repeats=1))
    assert [line.name for line in lines] == ["import heatbath", "heatbath --help"]
    assert all(0 < line.ours < 60 and line.unit == "s" for line in lines)
    # The whole process starts an interpreter and prints; the import alone does not.
    assert lines[0].ours < lines[1].ours
