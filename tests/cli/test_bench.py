"""`heatbath bench` shows both figures, names the misses, and speaks JSON."""

from __future__ import annotations

import json

import pytest

import heatbath.cli.bench
from heatbath.bench import BenchmarkLine, lower_limit_line, upper_limit_line
from heatbath.cli.main import main

LINES = [
    upper_limit_line("state", 0.0012, 0.0010, limit=1.5, unit="s"),
    lower_limit_line("generate", 300.0, 250.0, limit=1.8, unit="tokens/s"),
]


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(groups: object) -> list[BenchmarkLine]:
        return LINES

    monkeypatch.setattr(heatbath.cli.bench, "run_groups", run)


def test_both_figures_the_ratio_and_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    machine, state, generate, last = capsys.readouterr().out.splitlines()
    assert "cores" in machine
    assert " ".join(state.split()) == "state 1.2 ms against 1 ms 1.20 x <= 1.5 x met"
    assert " ".join(generate.split()) == "generate 300 tokens/s against 250 tokens/s 1.20 x >= 1.8 x MISSED"
    assert last == "missed: generate"


def test_json_holds_the_machine_and_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["machine"]["cores"] >= 1
    assert [line["met"] for line in shown["lines"]] == [True, False]
