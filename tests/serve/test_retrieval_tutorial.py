"""The tutorial from a folder to measured citations: its Python blocks, with the server that it starts."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commanded import serving

import heatbath

PAGE = Path(__file__).resolve().parents[2] / "docs/retrieval-tutorial.md"
ADDRESS = "127.0.0.1:8000"


@pytest.mark.weights
def test_the_tutorial_goes_from_a_folder_to_a_refused_citation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load_once: Callable[..., Any]
) -> None:
    pytest.importorskip("openai")
    pytest.importorskip("bm25s")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(heatbath, "load", lambda name: load_once(name, dtype="float32"))
    names: dict[str, Any] = {}
    server = None
    with ExitStack() as stack:
        for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            if ADDRESS in block and server is None:
                server = stack.enter_context(serving(tmp_path, "--config", "heatbath.toml"))
            address = ADDRESS if server is None else f"{server.host}:{server.port}"
            exec(compile(block.replace(ADDRESS, address), str(PAGE), "exec"), names)
        stack.callback(names["client"].close)
    supported = [one for claim in names["choice"].thermo["claims"] for one in claim["citations"] if one["supported"]]
    assert supported and max(one["support"] for one in supported) > 10
    assert names["second"].refused_citations and not names["first"].refused_citations
