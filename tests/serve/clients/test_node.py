"""The official OpenAI client for Node, fetched once into the user's cache, does what the one for Python does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commanded import MODEL
from process import Running

PACKAGE = "openai@7.57.0"
SCRIPT = Path(__file__).with_name("node.mjs")

node = shutil.which("node")
npm = shutil.which("npm")
pytestmark = [pytest.mark.weights, pytest.mark.skipif(not (node and npm), reason="node and npm are not installed")]


@pytest.fixture(scope="module")
def modules() -> Path:
    """A folder whose node_modules hold the client."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "heatbath" / "tests"
    folder = cache / PACKAGE.replace("@", "-")
    if not (folder / "node_modules" / "openai" / "package.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = [str(npm), "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), PACKAGE]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def found(real: Running, mock: Running, modules: Path) -> dict[str, Any]:
    """What each case of the script came to."""
    script = shutil.copy(SCRIPT, modules / SCRIPT.name)
    command = [str(node), str(script), f"{real.url}/v1", f"{mock.url}/v1", MODEL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    cases: dict[str, Any] = json.loads(done.stdout)
    return cases


CASES = (
    "models", "chat", "stream", "usage", "schema", "tools", "logprobs", "completions", "embeddings", "decisions",
    "thermo", "stored", "bad request", "not found", "abort", "timeout",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_client_for_node(found: dict[str, Any], case: str) -> None:
    assert found[case] == "ok"


def test_no_case_of_the_script_is_left_out(found: dict[str, Any]) -> None:
    assert set(found) == set(CASES)
