"""Servers that the official clients talk to: one without a model, one with the embedded model in float32."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from process import SOURCE, Running, running

MODEL = "smollm2-135m"
COMMAND = "import sys; from heatbath.cli.main import main; sys.exit(main())"


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


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[Running]:
    """The command, with its data in `folder`, once it says that it answers."""
    command = [sys.executable, "-c", COMMAND, "serve", "--port", "0", "--dtype", "float32", "--json"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "HEATBATH_STORAGE__URL": f"sqlite:///{folder / 'answers.db'}",
        "HEATBATH_SERVER__LOG": "warning",
    }
    said = (folder / "said").open("w+")
    with (
        said,
        subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=said, text=True, env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait(10)
                said.seek(0)
                raise RuntimeError("the server did not start:\n" + said.read())
            port = int(json.loads(line)["url"].rpartition(":")[2])
            yield Running(process, port=port)
        finally:
            process.kill()
