"""How many files and functions a streamed chat request runs through."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path

FILES, FUNCTIONS = 25, 130
"""Limits that keep the path of a request short enough to be read in one sitting."""

TRACE = Path(__file__).parents[2] / "tools" / "trace_request.py"


def test_a_chat_request_passes_few_files_and_functions(tmp_path: Path) -> None:
    found = asyncio.run(runpy.run_path(str(TRACE))["measure"](tmp_path))
    assert len({code.co_filename for code in found}) <= FILES
    assert len(found) <= FUNCTIONS
