"""Log lines: JSON for machines, text on a terminal, and nothing in either that a request can forge."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.serve.logging import build_logger


class Terminal(io.StringIO):
    """A text file that is a terminal."""

    def isatty(self) -> bool:
        return True


def log_lines(file: io.StringIO, form: Any = "auto", **values: Any) -> list[str]:
    build_logger("info", file, form).info("request", request_id="req-1", **values)
    return file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("file", "form", "is_json"),
    [
        (io.StringIO(), "auto", True),
        (Terminal(), "auto", False),
        (Terminal(), "json", True),
        (io.StringIO(), "text", False),
    ],
    ids=["file", "terminal", "JSON on a terminal", "text in a file"],
)
def test_the_form_follows_the_terminal_unless_it_is_set(file: io.StringIO, form: str, is_json: bool) -> None:
    (line,) = log_lines(file, form, status=200)
    if is_json:
        content = json.loads(line)
        assert content["event"] == "request" and content["status"] == 200 and content["timestamp"].endswith("Z")
    else:
        assert not line.startswith("{") and "request" in line and "200" in line and "req-1" in line


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in log_lines(Terminal())[0]
    assert "\x1b[" not in log_lines(io.StringIO(), "text")[0]
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in log_lines(Terminal())[0]


@given(st.text() | st.sampled_from(["a\n12:00:00 [error    ] forged", "\x1b]0;title\x07", "\x9b31m", "\u2028x", "\r"]))
def test_no_value_begins_a_line_or_moves_the_cursor(text: str) -> None:
    for form in ("text", "json"):
        (line,) = log_lines(io.StringIO(), form, path=text, nested=[text])
        assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)


def test_a_pseudo_terminal_gets_text() -> None:
    """The real standard error of a process."""
    code = "from heatbath.serve.logging import build_logger; build_logger().warning('started', port=8000)"
    ours, theirs = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True)
        shown = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "started" in shown and "8000" in shown and "{" not in shown
