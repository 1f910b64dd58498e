"""The size table counts as it says: docstrings left out, and what is over budget found."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "size.py"


@pytest.fixture
def size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("size_tool", TOOL)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "size_tool", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def _write(folder: Path, body: int) -> Path:
    path = folder / "src" / "heatbath" / "energy" / "a.py"
    path.parent.mkdir(parents=True)
    lines = ["def long(self, a, b):", '    """One.', "", '    Two."""', *["    a = b"] * body]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_docstring_does_not_count(size: ModuleType, tmp_path: Path) -> None:
    file = size.read(_write(tmp_path, 20))
    assert (file.package, file.lines) == ("heatbath/energy", 24)
    assert [(f.lines, f.parameters) for f in file.functions] == [(21, 2)]
    assert size.breaches([file]) == []


def test_what_is_over_budget_is_named(size: ModuleType, tmp_path: Path) -> None:
    file = size.read(_write(tmp_path, 400))
    assert [breach.split(":")[0] for breach in size.breaches([file])] == [
        "src/heatbath/energy/a.py",
        "src/heatbath/energy/a.py",
        "nine in ten functions",
    ]


@pytest.mark.parametrize(("values", "ninth"), [([1], 1), (list(range(1, 11)), 9), (list(range(1, 21)), 18), ([], 0)])
def test_nine_in_ten_do_not_exceed_it(size: ModuleType, values: list[int], ninth: int) -> None:
    assert size.p90(values) == ninth


def test_short_files_are_listed_by_package(size: ModuleType, tmp_path: Path) -> None:
    short = _write(tmp_path, 35)
    long, init = short.with_name("b.py"), short.with_name("__init__.py")
    long.write_text("a = 1\n" * 40, encoding="utf-8")
    init.write_text("", encoding="utf-8")
    files = [size.read(path) for path in (short, long, init)]
    assert [file.is_short for file in files] == [True, False, False]
    assert size.short_files(files) == ["heatbath/energy (1): a.py 39"]
