"""A server process from its start to its end: what it refuses, when it answers, and how it stops."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import shell
from process import Running, running

from heatbath.errors import BadInput
from heatbath.serve.server import SIGNAL_DEBOUNCE_SECONDS
from heatbath.serve.settings import ServerSettings, Settings
from heatbath.serve.sockets import format_address, open_sockets, validate_settings

KEY = {"sha256": "0" * 64}


def settings(keys: Any = None, **server: Any) -> Settings:
    return Settings(server=server, keys=keys or {}, storage={"url": "sqlite:///unused"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_where_others_reach_it_there_has_to_be_a_key(host: str) -> None:
    with pytest.raises(BadInput, match="no key"):
        validate_settings(settings(host=host))
    validate_settings(settings({"a": KEY}, host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_on_loopback_there_needs_to_be_none(host: str) -> None:
    validate_settings(settings(host=host))


def test_a_name_counts_by_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(host: str, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, 0, 0, "", (address, 0)) for address in ("127.0.0.1", "10.0.0.7")]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(BadInput, match="no key"):
        validate_settings(settings(host="looks.local"))


def test_a_host_without_an_address_is_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"'no\.such\.invalid', which has no address"):
        validate_settings(settings(host="no.such.invalid"))


def test_a_port_in_use_is_one_sentence() -> None:
    sockets = open_sockets(ServerSettings(port=0))
    port = sockets[0].getsockname()[1]
    assert format_address(ServerSettings(), sockets) == f"http://127.0.0.1:{port}"
    try:
        with pytest.raises(BadInput, match=f"port {port} on 127.0.0.1 is in use"):
            open_sockets(ServerSettings(port=port))
    finally:
        for made in sockets:
            made.close()


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(BadInput, match="cannot be listened on"):
        open_sockets(ServerSettings(host="192.0.2.1", port=0))


def test_tls_files_are_looked_at_before_the_start(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN PRIVATE KEY-----\nhidden\n")
    with pytest.raises(BadInput, match=r"server\.tls_cert is .*missing\.pem', which cannot be read"):
        validate_settings(settings(tls_cert=tmp_path / "missing.pem", tls_key=broken))
    with pytest.raises(BadInput, match="PEM without a password") as caught:
        validate_settings(settings(tls_cert=broken, tls_key=broken))
    assert "hidden" not in str(caught.value)


def certificate(folder: Path) -> tuple[str, str]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext"]
    subprocess.run([*command, "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


def test_it_speaks_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with running({"server": {"tls_cert": cert, "tls_key": key}}, main=shell.main) as server:
        context = ssl.create_default_context(cafile=cert)
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=10)
        connection.request("GET", "/health/live", headers={"connection": "close"})
        with connection.getresponse() as response:
            assert response.status == 200
        connection.close()
        server.signal()
        assert server.wait() == 0


def stream(server: Running, tokens: int, into: list[str]) -> threading.Thread:
    """A client that reads a stream to its end into `into`."""

    def read() -> None:
        with server.ask("POST", "/v1/try/stream", {"tokens": tokens}) as response:
            into.append(response.read().decode())

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def test_what_runs_comes_to_its_end_and_nothing_new_begins() -> None:
    with running(main=shell.main, pace={"each": 0.02}) as server:
        answers: list[str] = []
        threads = [stream(server, 60, answers) for _ in range(5)]
        idle = server.connect()
        assert server.until(lambda: server.busy == 5)
        server.signal(signal.SIGTERM)
        assert server.until(lambda: server.get("/health/ready")[0] == 503, 5)
        assert server.get("/health/live")[0] == 200
        late = server.ask("POST", "/v1/try/stream", {})
        assert (late.status, late.getheader("connection"), late.getheader("retry-after")) == (503, "close", "5")
        assert late.read()
        for thread in threads:
            thread.join(20)
        idle.close()
        assert server.wait() == 0
        assert len(answers) == 5 and all(answer.endswith("data: all 60\n\ndata: [DONE]\n\n") for answer in answers)
    assert not server.errors


def test_ctrl_c_is_no_failure() -> None:
    with running(main=shell.main) as server:
        with server.connect() as idle:
            began = time.monotonic()
            server.signal(signal.SIGINT)
            assert server.wait() == 0
            assert idle.recv(10) == b""
        assert time.monotonic() - began < 5
    assert not server.errors


def test_what_does_not_end_in_time_is_told() -> None:
    with running({"server": {"drain_seconds": 0.5}}, main=shell.main, pace={"each": 0.02}) as server:
        answers: list[str] = []
        thread = stream(server, 5000, answers)
        assert server.until(lambda: server.busy == 1)
        server.signal()
        assert server.wait(10) == 0
        thread.join(10)
        last = answers[0].strip().split("\n\n")[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
    assert not server.errors


def test_a_page_that_listens_does_not_hold_up_the_end() -> None:
    with running(main=shell.main) as server, server.ask("GET", "/try/listen") as response:
        assert response.read(4)
        began = time.monotonic()
        server.signal()
        assert server.wait(10) == 0
        assert time.monotonic() - began < 5
    assert not server.errors


def test_a_second_signal_does_not_wait() -> None:
    with running(main=shell.main, pace={"each": 0.02}) as server:
        answers: list[str] = []
        response = server.ask("POST", "/v1/try/stream", {"tokens": 5000})
        assert response.read(4)
        server.signal()
        server.signal()
        assert server.until(lambda: server.get("/health/ready")[0] == 503, 5)
        time.sleep(SIGNAL_DEBOUNCE_SECONDS)
        assert server.get("/health/live")[0] == 200, "two at once are one"
        began = time.monotonic()
        server.signal()
        assert server.wait(5) == 130
        assert time.monotonic() - began < 1 and not answers
        response.close()
    assert re.fullmatch(r"heatbath: stopped at once, 1 requests were cut short\.\n", "".join(server.errors))


def taken() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def alive(server: Running) -> bool:
    try:
        return server.get("/health/live")[0] == 200
    except OSError:
        return False


def test_the_port_is_open_while_the_engine_starts() -> None:
    port = taken()
    with running({"server": {"port": port}}, main=shell.main, ready=False, engine={"start_seconds": 1.5}) as server:
        server.port = port
        assert server.until(lambda: alive(server))
        assert server.get("/health/ready")[1]["down"] == {"engine": "the model is being loaded"}
        early = server.ask("POST", "/v1/try/echo", {})
        assert (early.status, early.getheader("retry-after")) == (503, "5")
        early.read()
        assert server.until(lambda: server.get("/health/ready")[0] == 200)


def test_a_signal_while_it_starts_ends_it() -> None:
    port = taken()
    with running({"server": {"port": port}}, main=shell.main, ready=False, engine={"start_seconds": 60}) as server:
        server.port = port
        assert server.until(lambda: alive(server))
        server.signal()
        assert server.wait(5) == 0
    assert not server.errors


def test_an_engine_that_cannot_start_ends_it_with_a_sentence() -> None:
    with running(main=shell.main, ready=False, engine={"broken": "there are no weights: fetch them."}) as server:
        assert server.wait(15) == 1
    assert server.errors == ["there are no weights: fetch them.\n"]
