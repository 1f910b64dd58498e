"""A real server process with an engine that needs no model: `with running(...) as server: server.get("/health/live")`.

Run as a script it is that process: `python tests/serve/process.py '{"settings": {...}, "pace": {...}}'`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2] / "src"
HERE = Path(__file__).resolve()


@dataclass
class Running:
    """A server process. `errors` are the lines of its stderr so far."""

    process: subprocess.Popen[str]
    host: str = "127.0.0.1"
    port: int = 0
    errors: list[str] = field(default_factory=list)

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
        self.process.send_signal(number)

    def wait(self, seconds: float = 30) -> int:
        """The exit code."""
        return self.process.wait(seconds)

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


@contextlib.contextmanager
def running(
    settings: dict[str, Any] | None = None, *, ready: bool = True, script: Path = HERE, **more: Any
) -> Iterator[Running]:
    """A process with these settings (nested as in the file); `more`: `pace`, `fault` and so on, see `build`."""
    given = {"settings": {"server": {"port": 0, "log": "warning"}, "model": {"name": "mock"}}, **more}
    for part, values in (settings or {}).items():
        given["settings"].setdefault(part, {}).update(values)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE.parent)])}
    process = subprocess.Popen(
        [sys.executable, str(script), json.dumps(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    server = Running(process)
    reader = threading.Thread(target=_follow, args=(server,), daemon=True)
    reader.start()
    try:
        if ready:
            server.port = _port(server)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        reader.join(10)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stderr.close()


def _follow(server: Running) -> None:
    assert server.process.stderr is not None
    for line in server.process.stderr:
        server.errors.append(line)


def _port(server: Running) -> int:
    assert server.process.stdout is not None
    line = server.process.stdout.readline()
    if not line:
        server.process.wait(10)
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


def main(given: dict[str, Any], more: Sequence[Any] = ()) -> int:
    """Serve until a signal comes; the address is printed once requests are answered."""
    from heatbath.serve.server import serve

    return serve(build(given), lambda address: print(address, flush=True), more)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
