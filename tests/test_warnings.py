"""Which warnings fail a test: those of our own code. Those of others are listed once at the end, with xdist too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

LIBRARY = """
import warnings

def old():
    warnings.warn("old() is deprecated: use new()", FutureWarning, stacklevel=2)

def chatter():
    warnings.warn("mind the gap", UserWarning)
"""

# A package of our name: what a warning is judged by.
OURS = """
import warnings
import numpy as np
from library import old

def deprecates():
    warnings.warn("ours is deprecated", DeprecationWarning, stacklevel=2)

def divides():
    return np.float64(1) / np.float64(0)

def calls_old():
    old()
"""

TESTS = """
import heatbath, library, pytest, warnings

def test_ours_is_deprecated(): heatbath.deprecates()
def test_ours_divides_by_zero(): heatbath.divides()
def test_a_test_warns(): warnings.warn("of a test", UserWarning)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_mark_comes_first(): heatbath.divides()
def test_ours_calls_what_is_deprecated(): heatbath.calls_old()
def test_and_again(): heatbath.calls_old()
def test_a_test_calls_what_is_deprecated(): library.old()
def test_a_library_warns(): library.chatter()
def test_it_can_be_asserted():
    with pytest.warns(DeprecationWarning, match="ours"): heatbath.deprecates()
"""


ONE_PROCESS = pytest.param(["-n", "0"], id="one process", marks=pytest.mark.slow)


@pytest.mark.parametrize("workers", [ONE_PROCESS, pytest.param(["-n", "2"], id="two workers")])
def test_our_warnings_fail_and_those_of_others_are_listed_once(workers: list[str], tmp_path: Path) -> None:
    (tmp_path / "heatbath").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "heatbath" / "__init__.py").write_text(OURS)
    (tmp_path / "library.py").write_text(LIBRARY)
    (tmp_path / "tests" / "test_some.py").write_text(TESTS)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *workers],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert "3 failed, 6 passed" in run.stdout, run.stdout + run.stderr
    for name in ("test_ours_is_deprecated", "test_ours_divides_by_zero", "test_a_test_warns"):
        assert f"FAILED tests/test_some.py::{name}" in run.stdout
    listed = run.stdout.partition("2 warnings of other packages, which fail nothing")[2]
    assert listed.count("FutureWarning: old() is deprecated: use new() (3 times)") == 1
    assert listed.count("UserWarning: mind the gap\n") == 1
