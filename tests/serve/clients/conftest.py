"""Servers that the official clients talk to: one without a model, one with the default model in float32."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from process import Running, running

sys.path.insert(0, str(Path(__file__).parent))

from commanded import serving


@pytest.fixture(scope="session")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An engine that says the same to everybody, a token every 5 ms."""
    url = f"sqlite:///{tmp_path_factory.mktemp('mock') / 'answers.db'}"
    with running({"storage": {"url": url}}, pace={"each": 0.005}) as server:
        yield server


@pytest.fixture(scope="session")
def real(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`heatbath serve` itself. Ask for it only in tests marked `weights`."""
    assert smollm2_folder.is_dir()
    with serving(tmp_path_factory.mktemp("real")) as server:
        yield server
