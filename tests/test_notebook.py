"""The tutorial runs from its first cell to its last, and is stored with what it prints."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

import heatbath

ROOT = Path(__file__).resolve().parent.parent


def _load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("notebook_tool", ROOT / "tools" / "notebook.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = _load_tool()


def _code_cells() -> list[Any]:
    return [cell for cell in TOOL.read_notebook().cells if cell.cell_type == "code"]


def _printed(cells: list[Any]) -> str:
    return "".join(output.text for cell in cells for output in cell.outputs if output.output_type == "stream")


@pytest.mark.weights
def test_the_cells_print_what_is_stored(
    smollm2: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cells one after another in this process, with the model that other tests use and fewer texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(heatbath, "load", lambda name, dtype: {("smollm2-135m", "float32"): smollm2}[name, dtype])
    namespace: dict[str, Any] = {}
    for number, cell in enumerate(_code_cells(), 1):
        exec(compile(_with_fewer_texts(cell.source), f"cell {number}", "exec"), namespace)
    plt.close("all")
    assert list(tmp_path.iterdir()) == []
    # The last digits differ between processors: what is stored and what is printed agree in their words.
    assert _words(capsys.readouterr().out) == _words(_printed(_code_cells()))


FEWER = {"sequences=48, batch=24": "sequences=16, batch=8"}


def _with_fewer_texts(code: str) -> str:
    for before, after in FEWER.items():
        code = code.replace(before, after)
    return code


def test_there_are_fewer_texts_in_one_cell() -> None:
    assert sum(_with_fewer_texts(cell.source) != cell.source for cell in _code_cells()) == 1


@pytest.mark.slow
@pytest.mark.weights
def test_the_tutorial_runs_from_the_first_cell_to_the_last(tmp_path: Path) -> None:
    done = TOOL.execute_notebook(TOOL.read_notebook(), tmp_path)
    cells = [cell for cell in done.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert list(tmp_path.iterdir()) == []
    assert _words(_printed(cells)) == _words(_printed(_code_cells()))


def _words(text: str) -> list[str]:
    """The lines without numbers, but for those that quote a text of the model or the verdict on an edge."""
    lines = (line for line in text.splitlines() if "'" not in line and not line.startswith(("freeze", "melt")))
    return [re.sub(r"[+−-]?\d[\d.]*|\s+", "", line) for line in lines]


def test_the_tutorial_is_stored_with_its_outputs() -> None:
    cells = _code_cells()
    assert len(cells) >= 8
    shown = [output for cell in cells for output in cell.outputs]
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in shown)
    assert all(cell.outputs for cell in cells)
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert not re.search(r"/(home|root|tmp|work)/", nbformat.writes(TOOL.read_notebook()))


def test_a_cell_that_fails_is_an_error(tmp_path: Path) -> None:
    """Control: without it a notebook that stops half-way would pass."""
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        TOOL.execute_notebook(broken, tmp_path)
