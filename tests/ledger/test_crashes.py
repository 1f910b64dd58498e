"""Many processes and threads append while processes are killed: no fork, no acknowledged entry lost, none doubled."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "serve"))
from ledger_storm import run_storm
from postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


def test_kills_on_files(tmp_path):
    run_storm(tmp_path, 2000, kills=4)


def test_kills_on_postgres(tmp_path, postgres_url):
    run_storm(tmp_path, 2000, url=postgres_url, kills=4)


@pytest.mark.slow
def test_many_kills_on_files(tmp_path):
    run_storm(tmp_path, 100_000, kills=60, seed=1)


@pytest.mark.slow
def test_many_kills_on_postgres(tmp_path, postgres_url):
    run_storm(tmp_path, 100_000, url=postgres_url, kills=60, seed=2)
