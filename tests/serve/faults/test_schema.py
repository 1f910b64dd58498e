"""Schemathesis against the server's own description of itself, all of its phases, the same cases every time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from process import running

pytest.importorskip("schemathesis")


OTHER_NAMES = "^/(v2/)?(rerank|score)$|^/health|^/ping$"
"""Paths of handlers that have another path, and those without parameters: they are tried at length only."""


# No schema can say that a token id is in the vocabulary, or that of two fields one must be given. A value of null in
# `metadata[key]=` is sent as the text null, which is allowed.
CONFIGURATION = """
[checks]
positive_data_acceptance.enabled = false

[[operations]]
include-name = "GET /v1/chat/completions"
checks.negative_data_rejection.enabled = false
"""


def _run(folder: Path, url: str, examples: int, *, exclude: str = "") -> subprocess.CompletedProcess[str]:
    (folder / "schemathesis.toml").write_text(CONFIGURATION, encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    options = {
        "phases": "examples,coverage,fuzzing,stateful",
        "max-examples": str(examples),
        "seed": "1",
        "request-timeout": "20",
        "suppress-health-check": "all",
        "workers": "1",
    }
    if exclude:
        options["exclude-path-regex"] = exclude
    flags = ["--generation-deterministic", "--no-color", "--continue-on-failure", "--no-shrink"]
    given = [f"--{name}={value}" for name, value in options.items()]
    return subprocess.run([*command, *given, *flags], cwd=folder, capture_output=True, text=True, timeout=1200)


def _check(folder: Path, examples: int, *, exclude: str = "") -> None:
    settings = {"storage": {"url": f"sqlite:///{folder / 'answers.db'}"}, "limits": {"max_tokens": 64, "max_n": 4}}
    with running(settings) as server:
        done = _run(folder, server.url, examples, exclude=exclude)
        assert done.returncode == 0, "\n".join(line[:300] for line in (done.stdout + done.stderr).splitlines())
        assert server.get("/health/ready")[0] == 200 and server.busy == 0
        assert not any("Traceback" in line for line in server.errors)


def test_the_server_is_what_it_says_it_is(tmp_path: Path) -> None:
    _check(tmp_path, 1, exclude=OTHER_NAMES)


@pytest.mark.slow
def test_the_server_is_what_it_says_it_is_at_length(tmp_path: Path) -> None:
    _check(tmp_path, 400)
