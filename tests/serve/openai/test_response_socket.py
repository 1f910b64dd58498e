"""Responses over WebSocket: the cases of the acceptance tests of Open Responses, and messages that are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from response_events import replay
from scripted import Scripted
from serving import Server, server

from heatbath.engine.mock import MockEngine, MockLatency
from heatbath.serve.openai import response_socket
from heatbath.serve.openai.response_socket import MAX_WAITING

URL = "ws://localhost/v1/responses"
ENDS = {"response.completed", "response.incomplete", "response.failed", "error"}
UNMATCHED_OUTPUT = [{"type": "function_call_output", "call_id": "call_1", "output": "7"}]


@pytest.fixture
def made() -> Server:
    return server(Scripted(["Hello."]))


def send(socket: Any, input: Any = "hi", **more: Any) -> None:
    socket.send_json({"type": "response.create", "model": "mock", "input": input, "store": False, **more})


def receive(socket: Any) -> list[dict[str, Any]]:
    """The events of one response."""
    events = [socket.receive_json()]
    while events[-1]["type"] not in ENDS:
        events.append(socket.receive_json())
    return events


def respond(socket: Any, input: Any = "hi", **more: Any) -> dict[str, Any]:
    """The last event of a response."""
    send(socket, input, **more)
    return receive(socket)[-1]


def test_the_events_are_those_of_a_stream_over_http(made: Server) -> None:
    with made.client.websocket_connect(URL) as socket:
        send(socket)
        events = receive(socket)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    response = replay(events)
    assert response["status"] == "completed" and response["output"][0]["content"][0]["text"] == "Hello."
    assert not response["store"]


def test_a_response_that_is_not_stored_is_continued_on_its_connection(made: Server) -> None:
    with made.client.websocket_connect(URL) as socket:
        first = respond(socket, "I am Ann.")["response"]
        second = respond(socket, "Who am I?", previous_response_id=first["id"])["response"]
        assert second["previous_response_id"] == first["id"] and second["status"] == "completed"
        turns = [("user", "I am Ann."), ("assistant", "Hello."), ("user", "Who am I?")]
        whole = made.respond([{"role": role, "content": text} for role, text in turns]).json()
        assert second["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
        # The connection keeps the latest alone.
        gone = respond(socket, "And?", previous_response_id=first["id"])
        assert gone["error"]["code"] == "previous_response_not_found"


def test_another_connection_cannot_continue_what_is_not_stored(made: Server) -> None:
    with made.client.websocket_connect(URL) as socket:
        first = respond(socket)["response"]
    with made.client.websocket_connect(URL) as socket:
        error = respond(socket, previous_response_id=first["id"])
        assert (error["type"], error["status"]) == ("error", 400)
        assert error["error"]["code"] == "previous_response_not_found"
        assert respond(socket)["type"] == "response.completed"


def test_what_is_stored_can_be_continued_on_another_connection_and_over_http(made: Server) -> None:
    with made.client.websocket_connect(URL) as socket:
        first = respond(socket, store=True)["response"]
    assert first["store"]
    with made.client.websocket_connect(URL) as socket:
        assert respond(socket, previous_response_id=first["id"])["type"] == "response.completed"
    assert made.respond("Again?", previous_response_id=first["id"]).status_code == 200


def test_a_failed_continuation_forgets_the_response_that_it_continued(made: Server) -> None:
    with made.client.websocket_connect(URL) as socket:
        first = respond(socket)["response"]
        assert respond(socket, UNMATCHED_OUTPUT, previous_response_id=first["id"])["type"] == "error"
        again = respond(socket, previous_response_id=first["id"])
    assert again["error"]["code"] == "previous_response_not_found"


def test_a_compacted_conversation_is_continued(made: Server) -> None:
    output = made.post("/v1/responses/compact", {"input": "I am Ann."}).json()["output"]
    with made.client.websocket_connect(URL) as socket:
        last = respond(socket, [*output, {"type": "message", "role": "user", "content": "Who am I?"}], tools=[])
    assert last["type"] == "response.completed"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ("", None),
        ("[]", None),
        ('"text"', None),
        ('{"type": "response.create"', None),
        ("[" * 5000, None),
        ("{}", "type"),
        ('{"type": 1}', "type"),
        ('{"type": "response.cancel"}', "type"),
        ('{"type": "response.create", "model": "mock", "input": "hi", "stream": false}', "stream"),
        ('{"type": "response.create", "model": "mock", "input": "hi", "background": true}', "background"),
        ('{"type": "response.create", "model": "mock", "input": "hi", "temperature": "hot"}', "temperature"),
        ('{"type": "response.create", "model": "mock", "input": "hi", "previous_response_id": [1]}', None),
        ('{"type": "response.create", "model": "other", "input": "hi"}', "model"),
    ],
)
def test_a_wrong_message_gets_an_error_and_the_next_one_its_response(
    made: Server, message: str, param: str | None
) -> None:
    with made.client.websocket_connect(URL) as socket:
        socket.send_text(message)
        error = socket.receive_json()
        assert error["type"] == "error" and 400 <= error["status"] < 500 and error["error"]["message"]
        assert param is None or error["error"]["param"] == param
        assert respond(socket)["type"] == "response.completed"


def test_a_message_in_bytes_is_taken(made: Server) -> None:
    with made.client.websocket_connect(URL) as socket:
        socket.send_bytes(json.dumps({"type": "response.create", "model": "mock", "input": "hi"}).encode())
        assert receive(socket)[-1]["type"] == "response.completed"


def test_messages_that_come_meanwhile_wait_in_their_order(made: Server) -> None:
    with made.client.websocket_connect(URL) as socket:
        for number in range(3):
            send(socket, metadata={"number": str(number)})
        assert [receive(socket)[-1]["response"]["metadata"]["number"] for _ in range(3)] == ["0", "1", "2"]


def test_more_messages_than_may_wait_end_the_connection() -> None:
    made = server(MockEngine(MockLatency(first=60.0)))
    with made.client.websocket_connect(URL) as socket:
        for _ in range(MAX_WAITING + 2):
            send(socket)
        received = [socket.receive()]
        while received[-1]["type"] != "websocket.close":
            received.append(socket.receive())
    assert received[-1]["code"] == 1008


def test_a_connection_without_messages_is_closed(made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_socket, "MAX_IDLE_SECONDS", 0.3)
    with made.client.websocket_connect(URL) as socket:
        assert respond(socket)["type"] == "response.completed"
        assert socket.receive() == {"type": "websocket.close", "code": 1013, "reason": ""}


def test_a_server_that_stops_says_so_in_an_event(made: Server) -> None:
    with made.client.websocket_connect(URL) as socket:
        made.services.lifecycle.drain()
        error = respond(socket)
    assert (error["status"], error["error"]["code"]) == (503, "unavailable")
