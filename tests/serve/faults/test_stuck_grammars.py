"""A grammar that never ends, in a real server: others are served, a signal ends it, and no process is left."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import stuck_grammars
from process import Running, running

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")


def complete(server: Running, **form: Any) -> int:
    with server.ask("POST", "/v1/completions", {"model": "mock", "prompt": [0], "max_tokens": 4, **form}) as answer:
        answer.read()
        return answer.status


def are_gone(pids: list[str]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_a_signal_ends_the_server_and_all_its_processes(number: signal.Signals, tmp_path: Path) -> None:
    note, statuses = tmp_path / "pids", []

    def ask() -> None:
        try:
            statuses.append(complete(server, guided_grammar=f"pid {note}"))
        except OSError:
            statuses.append(0)

    settings = {"server": {"drain_seconds": 0.5}, "storage": {"url": f"sqlite:///{tmp_path}/store.db"}}
    with running(settings, main=stuck_grammars.main) as server:
        stuck = threading.Thread(target=ask)
        stuck.start()
        assert server.until(lambda: note.exists() and note.read_text().endswith("\n"))
        assert complete(server) == complete(server, logit_bias={"1": 1}) == 200
        assert complete(server, guided_grammar="abort") == 400
        assert server.get("/health/ready")[0] == 200
        begun = time.monotonic()
        server.signal(number)
        assert server.wait(20) == (0 if number == signal.SIGTERM else -9)
        stuck.join(10)
        assert statuses == [503 if number == signal.SIGTERM else 0] and time.monotonic() - begun < 10
        assert server.until(lambda: are_gone(note.read_text().split()))
