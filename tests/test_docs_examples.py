"""Every Python block of the documentation runs, top to bottom, one namespace a page.

Pages share the models that they load. Where a page repeats what it measures, one repetition is run here; `pytest -m
slow` runs the page as it is written.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import heatbath

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


FEWER = {"docs/choosing-a-sampler.md": ("runs=4", "runs=1")}
"""What is replaced in a page, and by what."""
SERVED = {ROOT / "docs" / f"{name}-tutorial.md" for name in ("confidence", "retrieval", "policy")}
"""The pages that talk to a server, which are run with one: see tests/serve."""


def _pages() -> list[Any]:
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        code = BLOCK.findall(path.read_text(encoding="utf-8"))
        if code and path not in SERVED:
            marks = [pytest.mark.weights] if any("smollm2" in block for block in code) else []
            found.append(pytest.param(path, marks=marks, id=str(path.relative_to(ROOT))))
    return found


@pytest.fixture
def run_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load_once: Callable[..., Any]) -> Callable[..., None]:
    """A function that runs the blocks of a page, with one text in place of another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(heatbath, "load", load_once)
    example = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", example)  # where dataclasses look for their module

    def run(path: Path, before: str = "", after: str = "") -> None:
        text = path.read_text(encoding="utf-8")
        assert before in text
        for match in BLOCK.finditer(text):
            line = text[: match.start()].count("\n") + 1
            code = "\n" * line + match.group(1)  # so that a traceback shows the line of the page
            exec(compile(code.replace(before, after) if before else code, str(path), "exec"), vars(example))

    return run


@pytest.mark.parametrize("path", _pages())
def test_the_examples_of_a_page_run(path: Path, run_page: Callable[..., None]) -> None:
    run_page(path, *FEWER.get(str(path.relative_to(ROOT)), ()))


@pytest.mark.slow
@pytest.mark.parametrize("name", FEWER)
def test_the_examples_of_a_page_run_as_they_are_written(name: str, run_page: Callable[..., None]) -> None:
    run_page(ROOT / name)
