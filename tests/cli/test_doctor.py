"""`heatbath doctor` finds problems and reports them with its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heatbath.cli import doctor
from heatbath.cli.main import main
from heatbath.installation import EXTRAS


def _report(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_report_holds_what_one_asks_for_first(capsys: pytest.CaptureFixture[str]) -> None:
    code, report = _report(capsys)
    assert set(report) == {"machine", "cache", "extras", "problems"}
    assert report["machine"]["packages"]["torch"]
    assert "smollm2-135m" in report["cache"]["models"]
    assert code == (1 if report["problems"] else 0)


def test_what_is_missing_is_a_problem() -> None:
    found = doctor.collect_report()
    machine = {**found["machine"], "threads": 8, "cores": 2, "packages": {"torch": None}}
    problems = list(doctor._find_problems(machine, Path("/")))
    assert [problem.split()[0] for problem in problems if "cache" not in problem] == ["PyTorch", "torch"]


def test_a_cache_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert doctor._is_writable(tmp_path / "not" / "yet" / "there")
    assert not doctor._is_writable(tmp_path / "file" / "cache")


def test_people_get_one_fact_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["heatbath", "processor", "cores", "GPU"]
    assert lines[-1] in ("no problems found", "problems found")


def test_every_extra_has_a_line_with_its_state_and_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("extras"))
    shown = lines[start + 1 : start + 1 + len(EXTRAS)]
    assert [line.split()[0] for line in shown] == list(EXTRAS)
    for line, purpose in zip(shown, EXTRAS.values(), strict=True):
        assert purpose in line and ("  installed  " in line or "  not installed  " in line)
    _, report = _report(capsys)
    assert report["extras"]["test"]["installed"] and report["extras"]["test"]["packages"]["pytest"]
