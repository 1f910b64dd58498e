"""`heatbath decide` on a small model: check, fit and run, and what they refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from heatbath.cli.main import main

sys.path.insert(0, str(Path(__file__).parent.parent / "trust" / "decisions"))
from hash_model import HashModel

LABELS = ["--label", "A=the first", "--label", "B"]


@pytest.fixture(autouse=True)
def hash_model(monkeypatch: pytest.MonkeyPatch) -> None:
    import heatbath.models

    monkeypatch.setattr(heatbath.models, "load", lambda name, **_: HashModel(int(name)), raising=False)


def call(*arguments: object) -> int:
    return main(["decide", *map(str, arguments)])


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("check", "0") == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["raw", "yes"], ["order", "yes"], ["temperature", "yes"], ["head", "yes"],
    ]  # fmt: skip
    assert call("check", "0", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[3])["supported"] is True


def test_fit_and_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": f"text {i}", "label": "AB"[i % 2]} for i in range(60)]
    labeled = write(tmp_path / "labeled.jsonl", rows)
    out = tmp_path / "fit.json"
    fit = ("fit", "--model", 0, "--question", "Which?", *LABELS, "--labeled", labeled, "--held-out", labeled)
    assert call(*fit, "--out", out) == 0
    assert "fitted order, temperature" in capsys.readouterr().out
    assert call(*fit, "--out", out) == 2
    assert "add --force" in capsys.readouterr().err
    assert call("run", "--model", 0, "--fit", out, "--file", labeled, "--alpha", 0.2, "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 60 and found[0]["level"] == "temperature" and found[0]["has_prior"]
    assert set(found[0]["probabilities"]) == {"A", "B"} and "label_set" in found[0]
    assert call("run", "--model", 1, "--fit", out, "x") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "the fit is for hash" in error


def test_run_without_a_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "--model", 0, "--question", "Which?", *LABELS, "one", "two", "--abstain-below", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("raw" in line and line.endswith("abstains") for line in lines)
    assert call("run", "--model", 0, "--question", "It is late.", "--level", "order", "one") == 0
    assert capsys.readouterr().out.split()[0] in ("Yes", "No")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--question", "Q"], "give texts, or a file"),
        (["run", "x"], "there is no question"),
        (["run", "--question", "Q", "--label", "A", "x"], "from 2 to 255 labels, got 1"),
        (["run", "--question", "Q", "--label", "A", "--label", "A", "x"], "two labels are the same"),
        (["run", "--question", "Q", *LABELS, "--level", "head", "x"], "needs a fit"),
        (["run", "--question", "Q", *LABELS, ""], "text 0 is ''"),
        (["run", "--question", "Q", *LABELS, "--file", "none.jsonl"], "none.jsonl cannot be read as text"),
        (["fit", "--question", "Q", *LABELS, "--out", "fit.json"], "nothing to fit to"),
        (["fit", "--question", "Q", *LABELS, "--out", "fit.txt"], "JSON files end in .json"),
    ],
)
def test_refusals(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(arguments[0], "--model", "0", *arguments[1:]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ('{"text": "x"}', 'expected "label"'),
        ('{"text": " ", "label": "A"}', 'expected "text"'),
    ],
)
def test_lines_are_named(line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "x", "label": "A"}\n' + line)
    assert call("fit", "--model", 0, "--question", "Q", *LABELS, "--labeled", path, "--out", tmp_path / "f.json") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "f.json").exists()
