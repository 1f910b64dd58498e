"""A benchmark line says what was measured, and a comparison takes turns."""

from __future__ import annotations

from importlib import import_module

import pytest

from heatbath.bench import GROUPS, lower_limit_line, run_groups, time_sides, upper_limit_line
from heatbath.errors import BadInput


def test_a_ratio_is_held_against_its_limit() -> None:
    line = upper_limit_line("state", 3.0, 2.0, limit=1.5, unit="ms")
    assert (line.ours, line.theirs, line.ratio, line.target, line.met) == (3.0, 2.0, 1.5, "<= 1.5 x", True)
    assert not upper_limit_line("state", 3.1, 2.0, limit=1.5, unit="ms").met
    assert lower_limit_line("speed", 9.0, 10.0, limit=0.9, unit="tokens/s").met
    assert not lower_limit_line("speed", 8.9, 10.0, limit=0.9, unit="tokens/s").met


def test_an_absolute_target_has_no_ratio() -> None:
    line = upper_limit_line("import", 0.1, limit=0.2, unit="s")
    assert (line.theirs, line.ratio, line.target, line.met) == (None, None, "<= 0.2 s", True)
    assert not upper_limit_line("import", 0.3, limit=0.2, unit="s").met


def test_sides_take_turns_after_one_untimed_call_each() -> None:
    calls: list[str] = []
    seconds = time_sides({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, pause=0)
    assert calls == ["a", "b"] * 4
    assert set(seconds) == {"a", "b"}


def test_an_unknown_group_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="startup"):
        list(run_groups(["nowhere"]))


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_lines(group: str) -> None:
    assert callable(import_module(GROUPS[group]).lines)
