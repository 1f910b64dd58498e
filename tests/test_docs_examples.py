"""Every Python block of the documentation runs, top to bottom, one namespace a page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def _pages() -> list[Any]:
    found = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        code = BLOCK.findall(path.read_text(encoding="utf-8"))
        if code:
            marks = [pytest.mark.weights] if any("smollm2" in block for block in code) else []
            found.append(pytest.param(path, marks=marks, id=str(path.relative_to(ROOT))))
    return found


@pytest.mark.parametrize("path", _pages())
def test_the_examples_of_a_page_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = path.read_text(encoding="utf-8")
    example = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", example)  # where dataclasses look for their module
    for match in BLOCK.finditer(text):
        line = text[: match.start()].count("\n") + 1
        code = "\n" * line + match.group(1)  # so that a traceback shows the line of the page
        exec(compile(code, str(path), "exec"), vars(example))
