"""The tutorial from a rule to a decision by a person: its Python blocks, with the server that it starts."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commanded import serving

PAGE = Path(__file__).resolve().parents[3] / "docs/policy-tutorial.md"
ADDRESS = "127.0.0.1:8000"


@pytest.mark.weights
def test_the_tutorial_goes_from_a_rule_to_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    server = None
    with ExitStack() as stack:
        for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            if ADDRESS in block and server is None:
                server = stack.enter_context(serving(tmp_path, "--config", "heatbath.toml"))
            address = ADDRESS if server is None else f"{server.host}:{server.port}"
            exec(compile(block.replace(ADDRESS, address), str(PAGE), "exec"), names)
        stack.callback(names["client"].close)
    assert names["held"].status_code == 202 and names["outcome"]["object"] == "text_completion"
