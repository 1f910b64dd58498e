"""Puts this folder on the path, for what its tests share, and brings the servers of the session."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from commanded import serving
from postgres import postgres, postgres_url
from process import Running

__all__ = ["postgres", "postgres_url"]


@pytest.fixture(scope="session")
def real(smollm2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`heatbath serve` itself with the default model in float32. Ask for it only in tests marked `weights`."""
    assert smollm2_folder.is_dir()
    with serving(tmp_path_factory.mktemp("real")) as server:
        yield server
