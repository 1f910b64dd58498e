"""Responses over WebSocket with a real server and a client of another library: handshakes, limits, the end."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from process import Running, running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

KEY = "hb-sesame"
PATH = "/v1/responses"


def settings(**more: Any) -> dict[str, Any]:
    key = {"sha256": hashlib.sha256(KEY.encode()).hexdigest(), "scopes": ["infer"]}
    return {"keys": {"ann": key}, **more}


@pytest.fixture(scope="module")
def closed() -> Iterator[Running]:
    """A server that asks for a key."""
    with running(settings(server={"max_body": 4096})) as server:
        yield server


def open_socket(server: Running, path: str = PATH, **headers: str) -> ClientConnection:
    return connect(f"ws://localhost:{server.port}{path}", additional_headers=headers, open_timeout=20)


def respond(socket: ClientConnection, **more: Any) -> dict[str, Any]:
    socket.send(json.dumps({"type": "response.create", "model": "mock", "input": "hi", **more}))
    while (event := json.loads(socket.recv(timeout=20)))["type"] not in ("response.incomplete", "error"):
        pass
    found: dict[str, Any] = event
    return found


def test_a_client_with_a_key_gets_its_responses(closed: Running) -> None:
    with open_socket(closed, authorization=f"Bearer {KEY}") as socket:
        first = respond(socket, max_output_tokens=16, store=False)["response"]
        second = respond(socket, max_output_tokens=16, store=False, previous_response_id=first["id"])
    assert second["response"]["usage"]["input_tokens"] > first["usage"]["input_tokens"]


def test_the_official_client_continues_a_response(closed: Running) -> None:
    openai = pytest.importorskip("openai")
    asked: dict[str, Any] = {"model": "mock", "input": "hi", "max_output_tokens": 16, "store": False}
    with (
        openai.OpenAI(base_url=f"http://localhost:{closed.port}/v1", api_key=KEY) as client,
        client.responses.connect() as connection,
    ):
        connection.response.create(**asked)
        first = next(event for event in connection if event.type == "response.incomplete")
        connection.response.create(**asked, previous_response_id=first.response.id)
        second = next(event for event in connection if event.type == "response.incomplete")
    assert second.response.previous_response_id == first.response.id
    assert second.response.usage.input_tokens > first.response.usage.input_tokens


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"authorization": "Bearer hb-other"}, 401)])
def test_a_client_without_a_key_is_refused_in_words(closed: Running, headers: dict[str, str], status: int) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        open_socket(closed, **headers)
    response = refusal.value.response
    assert response.status_code == status and json.loads(response.body or b"")["error"]["code"] == "invalid_api_key"


def test_another_path_speaks_http_alone(closed: Running) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        open_socket(closed, "/v1/models", authorization=f"Bearer {KEY}")
    assert refusal.value.response.status_code == 200


def test_a_page_of_another_site_is_refused_where_no_key_is_needed() -> None:
    with running({}) as server:
        with pytest.raises(InvalidStatus) as refusal:
            open_socket(server, origin="http://elsewhere.example")
        assert refusal.value.response.status_code == 403
        with open_socket(server, origin=f"http://localhost:{server.port}") as socket:
            assert respond(socket, max_output_tokens=16)["type"] == "response.incomplete"


def test_a_message_that_is_too_long_ends_the_connection_and_nothing_else(closed: Running) -> None:
    with open_socket(closed, authorization=f"Bearer {KEY}") as socket, pytest.raises(ConnectionClosed) as end:
        respond(socket, instructions="x" * 8192)
    assert end.value.rcvd is not None and end.value.rcvd.code == 1009
    with open_socket(closed, authorization=f"Bearer {KEY}") as socket:
        assert respond(socket, max_output_tokens=16)["type"] == "response.incomplete"


def test_a_connection_outlives_the_time_for_the_head_of_a_request() -> None:
    with (
        running(settings(server={"read_timeout": 1})) as server,
        open_socket(server, authorization=f"Bearer {KEY}") as socket,
    ):
        time.sleep(1.5)
        assert respond(socket, max_output_tokens=16)["type"] == "response.incomplete"


def test_the_work_ends_with_the_client_and_the_server_with_its_signal() -> None:
    with running({}, pace={"each": 0.05}) as server:
        with open_socket(server) as socket:
            socket.send(json.dumps({"type": "response.create", "model": "mock", "input": "hi"}))
            assert json.loads(socket.recv(timeout=20))["type"] == "response.created"
            assert server.busy == 1
        assert server.until(lambda: not server.busy)
        with open_socket(server) as socket:
            server.signal()
            with pytest.raises(ConnectionClosed) as end:
                socket.recv(timeout=20)
        assert server.wait() == 0
    assert end.value.rcvd is not None and end.value.rcvd.code == 1012


def test_a_client_that_does_not_read_is_dropped() -> None:
    body = json.dumps({"type": "response.create", "model": "mock", "input": "hi", "max_output_tokens": 4000})
    limits = {"server": {"write_timeout": 1}}
    with (
        running(limits, pace={"each": 0.001}) as server,
        connect(f"ws://localhost:{server.port}{PATH}", sock=server.connect(receive_buffer=4096), max_queue=1) as socket,
    ):
        socket.send(body)
        assert server.until(lambda: server.busy == 1)
        assert server.until(lambda: server.busy == 0, 15)
        with pytest.raises(ConnectionClosed) as end:
            while True:
                socket.recv(timeout=20)
        assert end.value.rcvd is None, "the server gave up without the closing handshake"
