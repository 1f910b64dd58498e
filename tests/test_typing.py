"""Type checkers see the arguments of the public functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import heatbath

ROOT = Path(__file__).resolve().parent.parent


def test_the_package_is_typed() -> None:
    assert (Path(heatbath.__file__).parent / "py.typed").is_file()


@pytest.mark.slow
def test_right_calls_are_accepted_and_wrong_ones_are_seen() -> None:
    pytest.importorskip("mypy")
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "tests/typed_calls.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout
