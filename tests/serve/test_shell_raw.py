"""A real server process over raw connections: broken, smuggled, slow and endless requests. It must outlive them all."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator

import pytest
import shell
from process import Running, running

HOST = b"Host: 127.0.0.1\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\n" + HOST
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /v1/try/echo HTTP/1.1\r\n" + HOST + JSON


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    limits = {"read_timeout": 2, "write_timeout": 1, "keep_alive_seconds": 2, "max_body": 1_000_000}
    with running({"server": limits}, main=shell.main) as process:
        yield process
        assert process.alive


@pytest.fixture(autouse=True)
def survives(server: Running) -> Iterator[None]:
    yield
    assert server.get("/health/live") == (200, {"live": True})
    assert not [line for line in server.errors if "Traceback" in line or '"bug"' in line], server.errors


def status(answer: bytes) -> int:
    """The status of the first answer; its body, if it is an error, has to be of the contract."""
    head, _, body = answer.partition(b"\r\n\r\n")
    code = int(head.split()[1])
    if code >= 400:
        assert b"x-request-id: " in head.lower()
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        assert set(json.loads(body[:length])["error"]) == {"message", "type", "param", "code"}
    return code


def first(server: Running, data: bytes) -> bytes:
    """The first answer to `data`, whole."""
    with server.connect() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        return whole(connection)


def whole(connection: socket.socket) -> bytes:
    """The next answer, head and body."""
    got = b""
    while True:
        head, end, body = got.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].split(b"\r")[0]
        if end and len(body) >= int(length):
            return got
        part = connection.recv(65536)
        assert part, f"the connection ended after {got!r}"
        got += part


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (LIVE + b"\r\n", 200),
        (b"\r\n\r\n" + LIVE + b"\r\n", 200),
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", 400),
        (b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\n\r\n", 400),
        (LIVE + b"Host: evil\r\n\r\n", 400),
        (b"GET http://evil.example/health/live HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
        (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 2, 2\r\n\r\n{}", 400),
        (POST + b"Content-Length : 2\r\n\r\n{}", 400),
        (LIVE + b"X-A: b\rX-B: c\r\n\r\n", 400),
        (LIVE + b"X-A: b\x00c\r\n\r\n", 400),
        (LIVE + b"X A: b\r\n\r\n", 400),
        (LIVE + b": b\r\n\r\n", 400),
        (LIVE + b"X-A: b\r\n folded: c\r\n\r\n", 400),
        (b"GET /health/\x00live HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /h\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /static/../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /static/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /static/..%2f..%2f..%2fetc%2fpasswd HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /static/%00 HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /%ff%fe HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET //evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /" + b"a" * 8100 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /" + b"a" * 8200 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /" + b"a" * 1_000_000, 414),
        (LIVE + b"".join(b"X-%d: b\r\n" % i for i in range(100)) + b"\r\n", 200),
        (LIVE + b"".join(b"X-%d: b\r\n" % i for i in range(1000)) + b"\r\n", 431),
        (LIVE + b"X-A: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        (LIVE + b"X-A: " + b"b" * 2_000_000, 431),
        (POST + b"Content-Length: 2000000\r\n\r\n", 413),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
        (POST + b"Expect: 100-continue\r\nContent-Length: 2000000\r\n\r\n", 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17, 413),
        (POST.replace(JSON, b"") + b"Content-Length: 2\r\n\r\n{}", 415),
        (POST + b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n", 200),
        (b"GET /health/live HTTP/1.0\r\n\r\n", 200),
    ],
)
def test_each_request_gets_its_status(server: Running, request_: bytes, expected: int) -> None:
    assert status(first(server, request_)) == expected


def test_a_large_body_sent_all_the_same_gets_to_see_the_refusal(server: Running) -> None:
    for kind in ("close", "keep-alive"):
        connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
        for _ in range(2):
            connection.request("POST", "/v1/try/echo", b"x" * 10_000_000, {"connection": kind})
            with connection.getresponse() as response:
                assert response.status == 413 and json.loads(response.read())["error"]["code"] == "body_too_large"
        connection.close()


def test_a_connection_is_used_again_and_requests_may_come_together(server: Running) -> None:
    body = POST + b"Content-Length: 2\r\n\r\n{}"
    answers = server.raw(body + LIVE + b"\r\n" + body)
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert server.raw(body + b"JUNK\r\n\r\n").count(b"HTTP/1.1 200 OK") <= 1, "no answer may be taken for another's"


def test_a_request_hidden_in_a_body_is_a_body(server: Running) -> None:
    hidden = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answers = server.raw(POST + b"Content-Length: %d\r\n\r\n" % len(hidden) + hidden)
    assert answers.count(b"HTTP/1.1") == 1 and b'"bytes":%d' % len(hidden) in answers


def closes(connection: socket.socket, seconds: float) -> float:
    """Seconds until the server has closed it; what it sends meanwhile is thrown away."""
    began = time.monotonic()
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - began


@pytest.mark.parametrize("sent", [b"", b"GET /health/live HT", LIVE, LIVE + b"\r\n\r\n", LIVE + b"\r\nGET"])
def test_a_head_that_does_not_come_ends_the_connection(server: Running, sent: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(sent)
        assert 1.0 < closes(connection, 10) < 6


def test_a_body_that_does_not_come_is_given_up(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(POST + b"Content-Length: 10\r\n\r\n{")
        assert status(whole(connection)) == 408
        assert closes(connection, 5) < 3


def test_the_rest_of_a_refused_body_is_not_awaited_for_ever(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(POST + b"Content-Length: 2000000\r\n\r\n")
        assert status(whole(connection)) == 413
        assert closes(connection, 15) < 13


def test_a_client_that_does_not_read_is_dropped_and_its_request_given_up(server: Running) -> None:
    body = json.dumps({"tokens": 1_000_000, "padding": 20_000}).encode()
    with server.connect(receive_buffer=2048) as connection:
        began = time.monotonic()
        connection.sendall(POST.replace(b"echo", b"stream") + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert server.until(lambda: server.busy == 1)
        assert server.until(lambda: server.busy == 0, 10)
        assert time.monotonic() - began > 0.9


def test_a_client_that_reads_slowly_is_borne_with(server: Running) -> None:
    body = json.dumps({"tokens": 12, "padding": 200_000}).encode()
    with server.connect(receive_buffer=2048) as connection:
        connection.sendall(POST.replace(b"echo", b"stream") + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        got = b""
        while b"[DONE]" not in got[-100:]:
            part = connection.recv(300_000)
            assert part, "it was dropped"
            got += part
            time.sleep(0.0005 if len(part) < 3000 else 0.02)
    assert server.until(lambda: server.busy == 0)


def test_a_client_that_goes_is_noticed(server: Running) -> None:
    with server.connect() as connection:
        body = json.dumps({"tokens": 1_000_000}).encode()
        connection.sendall(POST.replace(b"echo", b"stream") + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert server.until(lambda: server.busy == 1)
    assert server.until(lambda: server.busy == 0, 5)


def test_many_broken_connections_leave_nothing_behind(server: Running) -> None:
    folder = f"/proc/{server.pid}/fd"
    if not os.path.isdir(folder):
        pytest.skip("no /proc here")
    before = len(os.listdir(folder))
    for number in range(200):
        with server.connect() as connection:
            connection.sendall((LIVE + b"\r\n", b"GET /x", b"\x00\xff", POST)[number % 4])
    assert server.until(lambda: len(os.listdir(folder)) <= before + 3, 10)
