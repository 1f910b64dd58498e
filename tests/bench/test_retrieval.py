"""The benchmark of retrieval, small: a search line from a real index, and what is said without the other side."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from heatbath.bench import retrieval
from heatbath.bench.benchmark import GROUPS
from heatbath.errors import BadInput


def test_a_search_is_timed_on_an_index_of_the_size_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "QUERIES", 5)
    line = retrieval.search_line(tmp_path, passages=300)
    assert line.unit == "ms" and line.ours > 0 and " 300 passages" in line.name
    assert GROUPS["retrieval"] == retrieval.__name__


def test_the_comparison_needs_its_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(retrieval.PEER_VARIABLE, raising=False)
    assert retrieval.find_peer("langchain", retrieval.PEER_VARIABLE, "tools/langchain_env.sh") is None
    assert "tools/langchain_env.sh" in capsys.readouterr().err
    monkeypatch.setenv(retrieval.PEER_VARIABLE, "/nowhere/python")
    with pytest.raises(BadInput, match="does not exist"):
        retrieval.find_peer("langchain", retrieval.PEER_VARIABLE, "tools/langchain_env.sh")


def test_a_failure_of_the_other_side_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(retrieval.HeatbathError, match="ended with status"):
        retrieval._run_peer(sys.executable, tmp_path)
