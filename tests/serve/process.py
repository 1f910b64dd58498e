"""A real server process with an engine that needs no model: `with running(...) as server: server.get("/health/live")`.

It is forked from a process that has imported everything, since imports are nearly all of the time that a start takes.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "src"
PRELOAD = [
    *("heatbath.serve.server", "heatbath.serve.services", "heatbath.serve.review.queue", "heatbath.engine.mock"),
    *("psycopg", "numpy"),
]
Main = Callable[[dict[str, Any]], int]


@dataclass
class Running:
    """A server that listens. `errors` are the lines of its stderr so far, where they are read."""

    pid: int
    host: str = "127.0.0.1"
    port: int = 0
    errors: list[str] = field(default_factory=list)
    process: BaseProcess | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def connect(self, receive_buffer: int | None = None) -> socket.socket:
        """A raw connection."""
        made = socket.socket()
        if receive_buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        made.settimeout(20)
        made.connect((self.host, self.port))
        return made

    def raw(self, data: bytes) -> bytes:
        """Everything that comes back on a connection for `data`, until the server closes it or is silent for 1 s."""
        with self.connect() as made:
            made.settimeout(1.0)
            got = b""
            with contextlib.suppress(OSError):
                made.sendall(data)
            with contextlib.suppress(OSError):
                while part := made.recv(65536):
                    got += part
            return got

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        """A response whose head has come; read it to its end or close it. `x_key=…` sends the header x-key."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body)
        if data is not None:
            named.setdefault("content-type", "application/json")
        named.setdefault("connection", "close")
        connection.request(method, path, data, named)
        return connection.getresponse()

    def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Status and JSON of a GET."""
        with self.ask("GET", path, **headers) as response:
            return response.status, json.loads(response.read())

    def signal(self, number: int = signal.SIGTERM) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it by SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def wait(self, seconds: float = 30) -> int:
        """The exit code."""
        assert self.process is not None
        self.process.join(seconds)
        assert self.process.exitcode is not None, "the server goes on"
        return self.process.exitcode

    @property
    def alive(self) -> bool:
        assert self.process is not None
        return self.process.is_alive()

    def until(self, what: Any, seconds: float = 20) -> bool:
        """Whether `what()` becomes true in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if what():
                return True
            time.sleep(0.05)
        return False

    @property
    def busy(self) -> int:
        """Requests the engine has at work."""
        running: int = self.get("/health/ready")[1]["load"]["running"]
        return running


def start_process(main: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """A process of its own that calls `main`."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=main, args=arguments)
    process.start()
    return process


def main(given: dict[str, Any]) -> int:
    """Serve until a signal comes; the address is printed once requests are answered."""
    from heatbath.serve.server import serve

    return serve(build(given), lambda address: print(address, flush=True))


@contextlib.contextmanager
def running(
    settings: dict[str, Any] | None = None, *, ready: bool = True, main: Main = main, **more: Any
) -> Iterator[Running]:
    """A process with these settings (nested as in the file); `more`: `pace`, `fault` and so on, see `build`."""
    given = {"settings": {"server": {"port": 0, "log": "warning"}, "model": {"name": "mock"}}, **more}
    for part, values in (settings or {}).items():
        given["settings"].setdefault(part, {}).update(values)
    context = get_context("forkserver")
    output, stdout = context.Pipe(duplex=False)
    errors, stderr = context.Pipe(duplex=False)
    process = start_process(_run, main, given, dict(os.environ), stdout, stderr)
    stdout.close()
    stderr.close()
    assert process.pid is not None
    server = Running(process.pid, process=process)
    reader = threading.Thread(target=_follow, args=(server, errors), daemon=True)
    reader.start()
    try:
        if ready:
            server.port = _port(server, output)
        yield server
    finally:
        process.kill()
        process.join(10)
        reader.join(10)
        output.close()


def _run(
    main: Main, given: dict[str, Any], environment: dict[str, str], stdout: Connection, stderr: Connection
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(stdout.fileno(), 1)
    os.dup2(stderr.fileno(), 2)
    sys.exit(main(given))


def _follow(server: Running, errors: Connection) -> None:
    with open(errors.fileno(), encoding="utf-8", closefd=False) as lines:
        server.errors.extend(iter(lines.readline, ""))
    errors.close()


def _port(server: Running, output: Connection) -> int:
    with open(output.fileno(), encoding="utf-8", closefd=False) as lines:
        line = lines.readline()
    if not line:
        server.wait(10)
        raise RuntimeError("the server did not start:\n" + "".join(server.errors))
    return int(line.rpartition(":")[2])


def build(given: dict[str, Any]) -> Any:
    """Services over a `MockEngine`: `pace` are its latencies, `text` what it says; the store is the settings' own."""
    from dataclasses import replace

    from heatbath.engine.mock import MockEngine, MockLatency
    from heatbath.serve.services import build_services
    from heatbath.serve.settings import Settings

    engine = MockEngine(MockLatency(**given.get("pace", {})), **({"text": given["text"]} if "text" in given else {}))
    services = build_services(Settings(**given["settings"]), engine=engine)
    return replace(services, **given.get("services", {}))
