"""Messages in Anthropic's form: what goes to the model, what comes back, streams, and errors."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import Scripted
from serving import Server, server

from heatbath.engine.base import Overloaded, Unavailable
from heatbath.engine.mock import ByteModelInfo, MockEngine, MockLatency
from heatbath.serve.openai.message_conversation import build_conversation
from heatbath.serve.openai.schema.messages import MessageRequest
from heatbath.serve.openai.validation import decode_body

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
WEATHER = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "cache_control": {"type": "ephemeral"},
}
HI = [{"role": "user", "content": "hi"}]


class Templated(ByteModelInfo):
    """A mock whose template can end within a message."""

    takes_tools = False

    def encode_chat(self, messages: Any, **options: Any) -> list[int]:
        text = "".join(f"{message['role']}: {message['content']}\n" for message in messages)
        return list(text[:-1].encode() if options.get("end") == "open" else text.encode())


def post(made: Server, path: str = "/v1/messages", **body: Any) -> Any:
    return made.client.post(path, json={"model": "mock", "max_tokens": 400, "messages": HI, **body})


def error(answer: Any) -> tuple[int, str, str]:
    """Status, type and message of an error, which has exactly the keys of Anthropic's."""
    body = answer.json()
    assert set(body) == {"type", "error", "request_id"} and set(body["error"]) == {"type", "message"}
    assert body["type"] == "error" and body["request_id"] == answer.headers["request-id"]
    return answer.status_code, body["error"]["type"], body["error"]["message"]


def events(answer: Any) -> list[dict[str, Any]]:
    """The events of a stream, whose names are their types."""
    found = []
    for part in answer.text.split("\n\n"):
        lines = [line for line in part.split("\n") if line and not line.startswith(":")]
        if lines:
            name, data = lines
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1]['type']}"
    return found


def replay(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that the events of a stream add up to, in the order that Anthropic's clients demand."""
    assert [each["type"] for each in found[:2]] == ["message_start", "ping"]
    assert [each["type"] for each in found[-2:]] == ["message_delta", "message_stop"]
    message, open_block, texts = found[0]["message"], None, []
    assert message["content"] == [] and message["stop_reason"] is None
    for each in found[2:-2]:
        if each["type"] == "content_block_start":
            assert open_block is None and each["index"] == len(message["content"])
            open_block, texts = each["index"], []
            message["content"].append(each["content_block"])
        else:
            assert each["index"] == open_block
            if each["type"] == "content_block_delta":
                texts.append(each["delta"].get("text") or each["delta"].get("partial_json"))
                continue
            block, open_block = message["content"][each["index"]], None
            block |= {"text": "".join(texts)} if block["type"] == "text" else {"input": json.loads("".join(texts))}
    assert open_block is None
    return {**message, **found[-2]["delta"], "usage": found[-2]["usage"]}


def test_a_message_has_the_fields_of_anthropic() -> None:
    made = server(Scripted(["Hello."]))
    answer = post(made, system="Be kind.", temperature=0.5, top_k=7, top_p=0.9, seed=3)
    body = answer.json()
    assert body == {
        "id": body["id"],
        "type": "message",
        "role": "assistant",
        "model": "mock",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": len("system: Be kind.\nuser: hi\n") - 2,
            "output_tokens": 7,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2,
        },
    }
    assert body["id"].startswith("msg_") and answer.headers["request-id"] == answer.headers["x-request-id"]
    (request,) = made.services.engine.requests  # type: ignore[attr-defined]
    assert bytes(request.prompt) == b"system: Be kind.\nuser: hi\n"
    assert (request.temperature, request.max_tokens, request.seed) == (0.5, 400, 3)
    assert {each.name: each.value for each in request.windows} == {"top_k": 7, "top_p": 0.9}
    (kept,) = made.store.answers.values()
    assert kept.content is not None and kept.content["answers"] == ["Hello."]
    assert kept.request.endpoint == "/v1/messages"


CONVERSATIONS: dict[str, tuple[Any, str]] = {
    "blocks are joined by line breaks": (
        [
            {
                "role": "user",
                "content": [{"type": "text", "text": "a", "cache_control": {}}, {"type": "text", "text": "b"}],
            }
        ],
        "user: a\nb\n",
    ),
    "turns of one role are joined": (
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        "user: a\nb\n",
    ),
    "results come before the text": (
        [
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "x"},
                    {"type": "text", "text": "Now."},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sun"}]},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "none", "is_error": True},
                    {"type": "text", "text": "Thanks."},
                ],
            },
        ],
        'user: go\nassistant: Now.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>\n'
        "user: <tool_response>\nsun\n</tool_response>\nuser: <tool_response>\nError: none\n</tool_response>\n"
        "user: Thanks.\n",
    ),
    "documents of text are read": (
        [
            {
                "role": "user",
                "content": [
                    {
                        "type": "document",
                        "title": "T",
                        "source": {"type": "text", "media_type": "text/plain", "data": "d"},
                    },
                    {"type": "search_result", "title": "S", "source": "u", "content": [{"type": "text", "text": "r"}]},
                ],
            }
        ],
        "user: T\nd\nS\nu\nr\n",
    ),
    "an assistant may have said nothing": (
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": []}, {"role": "user", "content": "b"}],
        "user: a\nassistant: \nuser: b\n",
    ),
    "instructions may come later": (
        [
            {"role": "user", "content": "a"},
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "b"},
        ],
        "user: a\nsystem: Be brief.\nuser: b\n",
    ),
}


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_conversations_reach_the_model_as_a_chat(case: str) -> None:
    messages, prompt = CONVERSATIONS[case]
    made = server(Scripted(["Yes."]))
    assert post(made, messages=messages).status_code == 200
    counted = post(made, "/v1/messages/count_tokens", messages=messages)
    (request,) = made.services.engine.requests  # type: ignore[attr-defined]
    assert bytes(request.prompt).decode() == prompt
    assert counted.json() == {"input_tokens": len(prompt)}


def test_a_last_message_of_the_assistant_is_continued() -> None:
    made = server(Scripted([" end."], Templated()))
    messages = [*HI, {"role": "assistant", "content": "The"}]
    assert post(made, messages=messages).json()["content"] == [{"type": "text", "text": " end."}]
    (request,) = made.services.engine.requests  # type: ignore[attr-defined]
    assert bytes(request.prompt) == b"user: hi\nassistant: The"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"type": "auto"}, "Let me see. " + CALL),
        ({"type": "any"}, CALL),
        ({"type": "tool", "name": "weather", "disable_parallel_tool_use": True}, CALL),
    ],
)
def test_tools_are_called(choice: Any, said: str, stream: bool) -> None:
    made = server(Scripted([said]))
    answer = post(made, tools=[WEATHER], tool_choice=choice, stream=stream)
    body = replay(events(answer)) if stream else answer.json()
    text = [{"type": "text", "text": "Let me see. "}] if choice["type"] == "auto" else []
    call = {"type": "tool_use", "id": body["content"][-1]["id"], "name": "weather", "input": {"city": "Rome"}}
    assert body["content"] == [*text, call] and call["id"].startswith("toolu_")
    assert (body["stop_reason"], body["stop_sequence"]) == ("tool_use", None)
    (request,) = made.services.engine.requests  # type: ignore[attr-defined]
    assert [field.name for field in request.fields] == ["lark"]
    assert b"The weather of a city." in bytes(request.prompt)


def test_several_calls_are_blocks_of_their_own() -> None:
    made = server(Scripted([CALL + "\n" + CALL.replace("Rome", "Oslo")]))
    for stream in (False, True):
        answer = post(made, tools=[WEATHER], stream=stream)
        body = replay(events(answer)) if stream else answer.json()
        assert [block["input"] for block in body["content"]] == [{"city": "Rome"}, {"city": "Oslo"}]
        assert len({block["id"] for block in body["content"]}) == 2


def test_without_tools_nothing_is_a_call_and_none_forbids_them() -> None:
    made = server(Scripted([CALL]))
    for more in ({}, {"tools": [WEATHER], "tool_choice": {"type": "none"}}):
        body = post(made, **more).json()
        assert body["content"] == [{"type": "text", "text": CALL}] and body["stop_reason"] == "end_turn"


def test_half_a_call_is_none() -> None:
    body = post(server(Scripted(["So. " + CALL])), tools=[WEATHER], max_tokens=50).json()
    assert body["content"] == [{"type": "text", "text": "So. "}] and body["stop_reason"] == "max_tokens"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("more", "reason", "sequence"),
    [
        ({"max_tokens": 5}, "max_tokens", None),
        ({"stop_sequences": ["fox"]}, "stop_sequence", "fox"),
        # 9 tokens of prompt in a context of 4096, of which the last token drawn need not be read.
        ({"max_tokens": 4096}, "model_context_window_exceeded", None),
    ],
)
def test_a_message_says_why_it_ended(more: Any, reason: str, sequence: str | None, stream: bool) -> None:
    answer = post(server(), stream=stream, **more)
    body = replay(events(answer)) if stream else answer.json()
    assert (body["stop_reason"], body["stop_sequence"]) == (reason, sequence)
    if reason == "model_context_window_exceeded":
        assert body["usage"]["output_tokens"] == 4096 - 9 + 1


def test_a_stream_says_what_the_message_says() -> None:
    made = server(Scripted(["Caf\u00e9."]))
    whole, found = post(made).json(), events(post(made, stream=True))
    told = replay(found)
    assert {**told, "id": ""} == {**whole, "id": ""}
    assert found[0]["message"]["usage"]["output_tokens"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_thermo_comes_with_a_message(stream: bool) -> None:
    answer = post(server(Scripted(["Hello."])), stream=stream, thermo={"record": "state"})
    thermo = events(answer)[-2]["thermo"] if stream else answer.json()["thermo"]
    assert thermo["seed"] == 7 and thermo["summary"]["n"] == 7 and thermo["stored"] is True
    assert thermo["records"]["text"][0] == "H"


def test_a_format_is_enforced_and_effort_is_told_to_be_ignored() -> None:
    made = server(Scripted(['{"name": "Rome"}']))
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    config = {"format": {"type": "json_schema", "schema": schema}, "effort": "low"}
    answer = post(made, output_config=config, thinking={"type": "adaptive"}, service_tier="auto")
    (request,) = made.services.engine.requests  # type: ignore[attr-defined]
    assert answer.status_code == 200 and [field.name for field in request.fields] == ["json_schema"]
    assert set(answer.headers["x-heatbath-ignored"].split(", ")) == {"thinking", "service_tier", "output_config.effort"}


TOOL_USE = {"type": "tool_use", "id": "t", "name": "weather", "input": {}}
REFUSED: list[tuple[Any, str]] = [
    ({"max_tokens": None}, "max_tokens is null"),
    ({"messages": []}, "messages is []"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content is []"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [TOOL_USE]}]}, "messages[0].content[0].type is 'tool_use'"),
    ({"messages": [*HI, {"role": "assistant", "content": [TOOL_USE]}]}, "messages[1] calls tools and is the last"),
    ({"messages": [*HI, {"role": "assistant", "content": "The"}]}, "continues no message"),
    ({"messages": [{"role": "user", "content": "x" * 5000}]}, "5007 tokens"),
    ({"max_tokens": 5000}, "max_tokens is 5000"),
    ({"temperature": -1}, "temperature is -1"),
    ({"tools": [{"name": "a.b", "input_schema": {}}]}, "tools[0].name"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
    ({"tools": [WEATHER, WEATHER]}, "tools[1].name is"),
    ({"tool_choice": {"type": "any"}}, "tool_choice is set and there are no tools"),
    ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, "tool_choice.name is missing"),
    ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, 'tool_choice names "x"'),
    ({"tools": [WEATHER], "tool_choice": {"type": "auto", "nmae": "x"}}, "nmae"),
    ({"mcp_servers": [{}]}, "mcp_servers is not served"),
    ({"stop": ["x"]}, "stop_sequences"),
]


@pytest.mark.parametrize(("body", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_is_refused_is_named(body: Any, words: str) -> None:
    status, kind, message = error(post(server(), **body))
    assert (status, kind) == (400, "invalid_request_error") and words in message
    assert "function" not in message and "response_format" not in message


def test_errors_have_the_types_of_anthropic() -> None:
    made = server()
    assert error(post(made, model="nobody"))[:2] == (404, "not_found_error")
    assert error(made.client.get("/v1/messages"))[:2] == (405, "invalid_request_error")
    assert error(made.client.post("/v1/messages/batches", json={}))[:2] == (404, "not_found_error")
    assert error(made.client.post("/v1/messages", content=b"x" * 9, headers={"content-type": "text/plain"}))[0] == 415
    large = server(server={"page": False, "max_body": 1024})
    assert error(post(large, system="x" * 2000))[:2] == (413, "request_too_large")
    assert error(post(server(MockEngine(fault=Overloaded("full.", 2.0)))))[:2] == (429, "rate_limit_error")
    assert error(post(server(MockEngine(fault=Unavailable("down."))), stream=True))[:2] == (503, "overloaded_error")
    assert set(made.client.post("/v1/chat/completions", json={}).json()["error"]) == {
        "message",
        "type",
        "param",
        "code",
    }


def test_an_error_on_the_way_is_the_last_event() -> None:
    made = server(MockEngine(MockLatency(each=0.01), fault=Unavailable("the engine has stopped."), fault_after=3))
    found = events(post(made, stream=True))
    assert found[-1]["type"] == "error" and found[-1]["error"]["type"] == "overloaded_error"
    assert "the engine has stopped" in found[-1]["error"]["message"]
    assert [each["type"] for each in found].count("content_block_delta") == 3
    assert [answered.status for answered in made.seen.ended_] == [503] and made.store.answers == {}


TEXT = st.text(max_size=4)
BLOCK = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXT),
    st.builds(
        lambda text, bad: {"type": "tool_result", "tool_use_id": "t", "content": text, "is_error": bad},
        TEXT,
        st.booleans(),
    ),
    st.just(TOOL_USE),
    st.just({"type": "thinking", "thinking": "hm", "signature": ""}),
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"]), "content": TEXT | st.lists(BLOCK, max_size=3)}
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(messages=st.lists(MESSAGE, max_size=5))
def test_any_conversation_is_a_chat_or_refused_by_place(messages: list[Any]) -> None:
    from heatbath.serve.errors import ApiError

    body = {"model": "mock", "max_tokens": 1, "messages": messages}
    try:
        request, _ = decode_body(json.dumps(body).encode(), MessageRequest, {})
        chat = build_conversation(request)
    except ApiError as refused:
        assert refused.status == 400 and (refused.param or "").startswith("messages")
        return
    said = "".join(str(message.content) for message in chat.messages)
    for message in messages:
        blocks = (
            message["content"]
            if isinstance(message["content"], list)
            else [{"type": "text", "text": message["content"]}]
        )
        assert all(block["text"] in said for block in blocks if block["type"] == "text")
    roles = [message.role for message in chat.messages]
    assert all(a != b or a == "tool" or chat.messages[i].tool_calls for i, (a, b) in enumerate(pairwise(roles)))
