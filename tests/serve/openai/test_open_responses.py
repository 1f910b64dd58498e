"""The requests that the acceptance tests of Open Responses make over HTTP, and what they expect of the answers."""

from __future__ import annotations

from typing import Any

import pytest
from response_events import REQUIRED, read_events, replay
from scripted import Scripted
from serving import Server, server

CALL = '<tool_call>\n{"name": "find_weather", "arguments": {"place": "Rome"}}\n</tool_call>'
TOOL = {
    "type": "function",
    "name": "find_weather",
    "description": "Find the weather of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


def message(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content, **more}


CONVERSATIONS = {
    "one message": [message("user", "Greet me.")],
    "phases": [
        message("assistant", "I look it up.", phase="commentary"),
        message("assistant", "Seven.", phase="final_answer"),
        message("user", "Again?"),
    ],
    "a system message": [message("system", "Speak as a sailor."), message("user", "Greet me.")],
    "several turns": [message("user", "I am Ann."), message("assistant", "Hello Ann."), message("user", "Who am I?")],
    "parts": [message("user", [{"type": "input_text", "text": "Greet"}, {"type": "input_text", "text": " me."}])],
}


@pytest.fixture(scope="module")
def made() -> Server:
    return server(Scripted(["Hello."]))


@pytest.mark.parametrize("name", CONVERSATIONS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_is_completed(made: Server, name: str, stream: bool) -> None:
    answer = made.respond(CONVERSATIONS[name], stream=stream)
    response = replay(read_events(answer.text)) if stream else answer.json()
    assert response["status"] == "completed" and response["output"] and response.keys() >= REQUIRED
    assert response["output"][0]["content"][0] == {
        "type": "output_text",
        "text": "Hello.",
        "annotations": [],
        "logprobs": [],
    }
    assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/json")


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_is_called(stream: bool) -> None:
    made = server(Scripted([CALL]))
    answer = made.respond([message("user", "Weather in Rome?")], tools=[TOOL], stream=stream)
    response = replay(read_events(answer.text)) if stream else answer.json()
    (call,) = response["output"]
    assert call["type"] == "function_call" and call["arguments"] == '{"place": "Rome"}' and call["call_id"]
    assert response["tools"] == [TOOL | {"strict": None}]
    if stream:
        kinds = {event["type"] for event in read_events(answer.text)}
        assert {"response.function_call_arguments.delta", "response.function_call_arguments.done"} <= kinds


def test_a_conversation_is_compacted(made: Server) -> None:
    body = {"input": CONVERSATIONS["several turns"], "prompt_cache_key": "x"}
    compacted = made.post("/v1/responses/compact", body).json()
    assert compacted["object"] == "response.compaction" and [item["type"] for item in compacted["output"]] == [
        "compaction"
    ]
    assert made.client.post("/v1/responses/compact", json=body).status_code == 400


def test_a_picture_is_refused_since_the_model_cannot_see_it(made: Server) -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    answer = made.respond([message("user", [{"type": "input_text", "text": "What is it?"}, picture])])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_value"
    assert answer.json()["error"]["param"] == "input[0].content[1].type"
