"""The page that follows requests through the code: every file and name on it exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "life-of-a-request.md"
SOURCE = ROOT / "src" / "heatbath"


def read_steps(text: str) -> list[tuple[str, list[str]]]:
    """Return the files that a text names in backquotes, each with the names that follow it up to the next file."""
    steps: list[tuple[str, list[str]]] = []
    for quoted in re.findall(r"`([^`]+)`", text):
        if re.fullmatch(r"[a-z_/0-9]+\.py", quoted):
            steps.append((quoted, []))
        elif steps and re.fullmatch(r"[A-Za-z_]\w*(\.\w+)?", quoted):
            steps[-1][1].append(quoted)
    return steps


def defined_names(path: Path) -> set[str]:
    """Return the functions and classes of a file, methods as `Class.method`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
            methods = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {f"{node.name}.{method.name}" for method in methods}
    return names


ALL_NAMES = {name for path in SOURCE.rglob("*.py") for name in defined_names(path)}
WORDS = {"smc", "power", "n", "on_step", "SPEC"}
"""Backquoted words of the page that name no function or class."""


@pytest.mark.parametrize(("file", "names"), read_steps(PAGE.read_text(encoding="utf-8")))
def test_a_step_names_what_is_there(file: str, names: list[str]) -> None:
    assert (SOURCE / file).is_file()
    here = defined_names(SOURCE / file)
    named = [name for name in names if name not in WORDS and not name.startswith("hb.")]
    assert not named or named[0] in here, f"{named[0]} is not defined in {file}"
    assert [name for name in named if name not in ALL_NAMES] == []


def test_a_name_that_is_gone_is_found() -> None:
    ((file, names),) = read_steps("`engine/driver.py` `Run`, `Run.leave`: a step")
    assert file == "engine/driver.py" and names == ["Run", "Run.leave"]
    assert "Run" in ALL_NAMES and "Run.leave" not in ALL_NAMES
