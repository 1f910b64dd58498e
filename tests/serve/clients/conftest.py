"""The server without a model that the official clients talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from process import Running, running


@pytest.fixture(scope="session")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """An engine that says the same to everybody, a token every 5 ms."""
    url = f"sqlite:///{tmp_path_factory.mktemp('mock') / 'answers.db'}"
    with running({"storage": {"url": url}}, pace={"each": 0.005}) as server:
        yield server
