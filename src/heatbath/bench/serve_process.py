"""Servers to measure, one at a time: each below a supervisor that ends all of its processes, whatever happens."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from heatbath.bench import process_supervisor
from heatbath.bench.process_supervisor import find_descendants
from heatbath.bench.serve_load import StreamCall
from heatbath.errors import ModelError

_START_SECONDS, _POLL_SECONDS = 900.0, 0.05
# The supervisor has its own limits; this one is for a supervisor that hangs.
_STOP_SECONDS = 3 * process_supervisor.STOP_SECONDS

CallBuilder = Callable[[str, int], StreamCall]


@dataclass(frozen=True)
class ServerSpec:
    """The command that starts a server on a port, and its requests.

    Attributes:
        command: returns the command line for a port.
        build_call: returns the call for a prompt and a number of tokens.
        ready_path: a path that responds with 200 when the server is ready.
        environment: variables on top of this process's own.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    build_call: CallBuilder
    ready_path: str = "/health"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class RunningServer:
    """A running server below its supervisor, which writes to `output`.

    Attributes:
        ready_seconds: time from the start of the process until it was ready.
    """

    host: ServerSpec
    port: int
    supervisor: subprocess.Popen[bytes]
    output: IO[bytes]
    ready_seconds: float = 0.0

    @property
    def has_ended(self) -> bool:
        """Return True if the server has ended by itself."""
        return self.supervisor.poll() is not None

    def stop(self) -> str:
        """End the server and all of its processes, with force if it takes long, and return its output."""
        if self.supervisor.stdin is not None:
            with contextlib.suppress(OSError):
                self.supervisor.stdin.close()
        try:
            self.supervisor.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()
            self.supervisor.wait()
        return self.read_output()

    def read_output(self) -> str:
        """Return the output so far."""
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def read_memory(self) -> float:
        """Return the memory of all processes of the server, GB; shared pages count once. 0 without /proc."""
        return sum(map(_read_process_memory, find_descendants(self.supervisor.pid)))


@contextlib.contextmanager
def run_server(host: ServerSpec) -> Iterator[RunningServer]:
    """Yield the server when it is ready. Raises `ModelError` with its last output if it ends before."""
    port = _find_free_port()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        supervisor = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(process_supervisor.__file__)), *host.command(port)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            env={**os.environ, **host.environment},
        )
        server = RunningServer(host, port, supervisor, output)
        try:
            _wait_until_ready(server)
            server.ready_seconds = time.monotonic() - start
            yield server
        finally:
            server.stop()


def _wait_until_ready(server: RunningServer) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if server.has_ended:
            break
        if _is_answering(f"http://127.0.0.1:{server.port}{server.host.ready_path}"):
            return
        time.sleep(_POLL_SECONDS)
    raise ModelError(f"the server of {server.host.name} did not start: {server.read_output()[-500:].strip()}")


def _is_answering(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _read_process_memory(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:  # it has ended
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e6
