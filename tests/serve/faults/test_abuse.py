"""What hostile and careless clients send: the right status, one sentence, and a server that answers as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from bad import error_of
from process import Running, running
from talking import until

CHAT = "/v1/chat/completions"
GOOD: dict[str, Any] = {"model": "mock", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
DEEP = 10_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    url = f"sqlite:///{tmp_path_factory.mktemp('abuse') / 'answers.db'}"
    with running({"storage": {"url": url}, "server": {"write_timeout": 1}}, pace={"each": 0.001}) as server:
        yield server


@pytest.fixture(autouse=True)
def alive(server: Running) -> Iterator[None]:
    """After each test the server answers, gives what it should, and has nothing at work."""
    yield
    response = server.ask("POST", CHAT, GOOD)
    answer = json.loads(response.read())
    assert response.status == 200 and answer["choices"][0]["message"]["content"] == "The q"
    until(lambda: server.busy == 0)
    assert server.alive and not any("Traceback" in line for line in server.errors)


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", "Connection: close"]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


def split(response: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body."""
    head, _, body = response.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body


def chat(**more: Any) -> bytes:
    return json.dumps({**GOOD, **more}).encode()


def nested(inner: str) -> bytes:
    return b'{"model": "mock", "messages": ' + inner.encode() + b"}"


BODIES = {
    "10 MB": (b'{"model": "' + b"x" * 10_000_000 + b'"}', 413, None),
    "10,000 lists deep": (nested("[" * DEEP + "]" * DEEP), 400, None),
    "10,000 objects deep": (nested('{"a":' * DEEP + "1" + "}" * DEEP), 400, None),
    "10,000 lists never closed": (nested("[" * DEEP), 400, None),
    "a deep value of a field nobody reads": (chat()[:-1] + b', "x": ' + b"[" * 100 + b"]" * 100 + b"}", 400, None),
    "invalid UTF-8": (b'{"model": "mock", "messages": [{"role": "user", "content": "\xff\xfe"}]}', 400, None),
    "half a surrogate": (chat(messages=[{"role": "user", "content": "\ud800"}]), (200, 400), None),
    "no JSON": (b"hello", 400, None),
    "nothing": (b"", 400, None),
    "a list": (b"[]", 400, None),
    "null": (b"null", 400, None),
    "a JSON text": (b'"hello"', 400, None),
    "10,000 stops": (chat(stop=["x" * 8] * 10_000), 400, "stop"),
    "an empty stop": (chat(stop=[""]), 400, "stop"),
    "a penalty that is no number": (chat(presence_penalty=float("nan")), 400, "presence_penalty"),
    "an infinite penalty": (chat(frequency_penalty=float("inf")), 400, "frequency_penalty"),
    "a penalty of 1e400": (chat()[:-1] + b', "frequency_penalty": 1e400}', 400, "frequency_penalty"),
    "a temperature that is no number": (chat(temperature=float("nan")), 400, "temperature"),
    "a negative temperature": (chat(temperature=-1), 400, "temperature"),
    "a seed of 400 digits": (chat()[:-1] + b', "seed": ' + b"9" * 400 + b"}", 400, "seed"),
    "more tokens than can be": (chat(max_tokens=10**12), 400, "max_tokens"),
    "no tokens at all": (chat(max_tokens=-1), 400, "max_tokens"),
    "a thousand answers": (chat(n=1000), 400, "n"),
    "no messages": (chat(messages=[]), 400, "messages"),
    "a role of its own": (chat(messages=[{"role": "root", "content": "x"}]), 400, "messages[0].role"),
    "a prompt beyond the context": (chat(messages=[{"role": "user", "content": "x" * 100_000}]), 400, "messages"),
    "no model of this name": (chat(model="../../etc/passwd"), 404, "model"),
    "a model that is a number": (chat(model=5), 400, "model"),
    "a bias for no token": (chat(logit_bias={"-1": 5}), 400, "logit_bias"),
    "a bias of a text": (chat(logit_bias={"5": "high"}), 400, None),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_gets_its_status_and_one_sentence(server: Running, name: str) -> None:
    body, wanted, param = BODIES[name]
    status, headers, said = split(server.raw(post(CHAT, body)))
    assert status in (wanted if isinstance(wanted, tuple) else (wanted,)), said[:300]
    assert headers["x-request-id"]
    if status != 200:
        error = error_of(status, said)
        assert param is None or (error["param"] or "").startswith(param), error


PATHS = {
    "up from the page's files": ("/static/../../../../etc/passwd", (400, 404)),
    "up, percent-encoded": ("/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd", (400, 404)),
    "up, slashes too": ("/static/..%2f..%2f..%2fetc%2fpasswd", (400, 404)),
    "up, twice encoded": ("/static/%252e%252e%252fetc%252fpasswd", (400, 404)),
    "up with a backslash": ("/static/..\\..\\etc\\passwd", (400, 404)),
    "from the root": ("//etc/passwd", (400, 404)),
    "with a zero byte": ("/static/app.js%00.txt", (400, 404)),
    "no such path": ("/v1/nothing", (404,)),
    "an answer nobody stored": ("/v1/chat/completions/..%2f..%2fx", (404,)),
    "an answer with a quote": ("/v1/chat/completions/x'%20OR%20'1'='1", (404,)),
    "a very long one": ("/v1/models/" + "a" * 20_000, (400, 404, 414)),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_leads_nowhere_it_should_not(server: Running, name: str) -> None:
    path, wanted = PATHS[name]
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    status, _, said = split(server.raw(request))
    assert status in wanted and b"root:" not in said
    assert "\n" not in error_of(status, said)["message"]


SMUGGLED = {
    "two lengths": "Content-Length: 5",
    "a length and chunks": "Transfer-Encoding: chunked",
    "chunks in disguise": "Transfer-Encoding: xchunked",
    "chunks, then chunks": "Transfer-Encoding: chunked, chunked",
    "a length with a sign": "Content-Length: +5",
    "a folded header": "X-Fold: a\r\n b",
    "a space before the colon": "Transfer-Encoding : chunked",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_request_is_never_read_as_two(server: Running, name: str) -> None:
    inner = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    said = server.raw(post(CHAT, chat() + inner, SMUGGLED[name]))
    assert said.count(b"HTTP/1.1 ") <= 1, said
    assert not said or split(said)[0] in (200, 400, 413, 501), said
    assert b"smuggled" not in said


HEADS = {
    "no host": b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n",
    "a name that is not ours": b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "a method of its own": b"BREW /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a line break in a header": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: a\nb\r\nConnection: close\r\n\r\n",
    "a header of 1 MB": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "10,000 headers": b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_is_wrong_is_refused(server: Running, name: str) -> None:
    said = server.raw(HEADS[name])
    assert not said or 400 <= split(said)[0] < 500, said[:300]


def test_an_id_of_the_client_does_not_write_into_the_answer(server: Running) -> None:
    said = server.raw(post(CHAT, chat(), "X-Request-Id: a\tb<script>"))
    status, headers, _ = split(said)
    assert status == 200 and headers["x-request-id"].startswith("req_")


def test_a_client_that_sends_its_body_slowly_holds_nothing_up(server: Running) -> None:
    with server.connect() as slow:
        slow.sendall(post(CHAT, chat())[:-10])
        assert server.ask("POST", CHAT, GOOD).status == 200
        assert server.busy == 0


def test_a_client_that_does_not_read_is_cut_off(server: Running) -> None:
    body = chat(max_tokens=4000, stream=True, logprobs=True, top_logprobs=2, thermo={"records": True})
    with server.connect(receive_buffer=4096) as deaf:
        deaf.sendall(post(CHAT, body))
        until(lambda: server.busy == 1)
        until(lambda: server.busy == 0, 15)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_rows(server: Running, stream: bool) -> None:
    with server.connect() as made:
        made.sendall(post(CHAT, chat(max_tokens=4000, stream=stream)))
        until(lambda: server.busy == 1)
        if stream:
            assert made.recv(200).startswith(b"HTTP/1.1 200")
    until(lambda: server.busy == 0, 2)


def test_fifty_clients_that_go_away_at_once_leave_nothing(server: Running) -> None:
    made = [server.connect() for _ in range(50)]
    for connection in made:
        connection.sendall(post(CHAT, chat(max_tokens=4000, stream=True)))
    until(lambda: server.busy == 50)
    for connection in made:
        connection.close()
    until(lambda: server.busy == 0, 5)
