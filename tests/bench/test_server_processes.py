"""No process of a measured server outlives the measurement, whatever ends it, with harmless servers in their place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heatbath.bench import process_supervisor, serve_process
from heatbath.errors import ModelError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descendants are found in /proc")

# A server with a worker that leaves the group, has lost its parent and ignores SIGTERM, as workers of servers do.
STAND_IN = """
import http.server, os, signal, subprocess, sys, time
port, notes, habit = int(sys.argv[1]), sys.argv[2], sys.argv[3]
worker = "import os, signal, time; os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN)"
worker += "; print(os.getpid(), flush=True); time.sleep(300)"
middle = "import subprocess, sys"
middle += "; subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=open(sys.argv[2], 'w'))"
subprocess.run([sys.executable, "-c", middle, worker, notes + ".worker"], check=True)
while not open(notes + ".worker").read().strip():
    time.sleep(0.01)
if habit == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(notes, "w").write(str(os.getpid()))
if habit == "crash":
    sys.exit("it crashed")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
BENCH = """
import signal, sys, time
# A shell starts what runs in its background without SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
import test_server_processes as tests
from heatbath.bench import serve_process
with serve_process.run_server(tests.stand_in(sys.argv[2])):
    print("ready", flush=True)
    time.sleep(300)
"""


def stand_in(notes: str, habit: str = "plain") -> serve_process.ServerSpec:
    """A server that notes its own process and its worker's."""

    def command(port: int) -> list[str]:
        return [sys.executable, "-c", STAND_IN, str(port), notes, habit]

    return serve_process.ServerSpec("stand-in", command, lambda prompt, tokens: pytest.fail("it was asked"))


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Path]:
    """Where the processes are noted, and killed should a test fail."""
    path = tmp_path / "server"
    yield path
    for pid in _noted(path):
        if _is_running(pid):
            os.kill(pid, signal.SIGKILL)


def _noted(path: Path) -> list[int]:
    files = [file for file in (path, path.with_name(path.name + ".worker")) if file.exists()]
    return [int(text) for file in files if (text := file.read_text().strip())]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _wait_until_ended(pids: list[int]) -> None:
    assert len(pids) == 2
    for _ in range(500):
        if not any(map(_is_running, pids)):
            return
        time.sleep(0.02)
    raise AssertionError(f"still running: {[pid for pid in pids if _is_running(pid)]}")


def test_a_stopped_server_leaves_nothing(notes: Path) -> None:
    with serve_process.run_server(stand_in(str(notes))) as server:
        pids = _noted(notes)
        assert set(pids) <= set(process_supervisor.find_descendants(server.supervisor.pid))
        assert all(map(_is_running, pids)) and server.read_memory() > 0 and server.ready_seconds > 0
    assert not any(map(_is_running, pids))


def test_an_error_while_measuring_leaves_nothing(notes: Path) -> None:
    with pytest.raises(ZeroDivisionError), serve_process.run_server(stand_in(str(notes))):
        raise ZeroDivisionError
    assert not any(map(_is_running, _noted(notes)))


def test_a_server_that_crashes_leaves_nothing_and_is_named(notes: Path) -> None:
    host = stand_in(str(notes), "crash")
    with pytest.raises(ModelError, match=r"stand-in did not start: it crashed"), serve_process.run_server(host):
        pytest.fail("it was measured")
    assert len(_noted(notes)) == 2 and not any(map(_is_running, _noted(notes)))


def test_a_server_that_ignores_signals_is_killed(notes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quick = tmp_path / "supervisor.py"
    source = Path(process_supervisor.__file__).read_text()
    quick.write_text(source.replace("STOP_SECONDS = 30.0", "STOP_SECONDS = 0.3"))
    monkeypatch.setattr(process_supervisor, "__file__", str(quick))
    with serve_process.run_server(stand_in(str(notes), "stubborn")):
        start = time.monotonic()
    assert time.monotonic() - start < 10 and not any(map(_is_running, _noted(notes)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_bench_that_is_killed_leaves_nothing(notes: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", BENCH, str(Path(__file__).parent), str(notes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as bench:
        assert bench.stdout is not None and bench.stdout.readline() == b"ready\n"
        bench.send_signal(number)
        bench.wait(20)
    _wait_until_ended(_noted(notes))


def test_a_killed_supervisor_takes_the_server_along(notes: Path) -> None:
    with serve_process.run_server(stand_in(str(notes))) as server:
        server.supervisor.kill()
        for _ in range(500):
            if not _is_running(_noted(notes)[0]):
                break
            time.sleep(0.02)
        assert not _is_running(_noted(notes)[0]) and server.has_ended
