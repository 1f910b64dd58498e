"""POST /v1/responses, through the official client and bare."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import hypothesis
import msgspec
import openai
import pydantic
import pytest
from hypothesis import strategies as st
from response_events import REQUIRED, read_events, replay
from scripted import Scripted
from serving import Server, server
from test_client import asked

from heatbath.engine.base import Token
from heatbath.engine.mock import ByteModelInfo, MockEngine
from heatbath.errors import ModelError
from heatbath.serve.openai.outputs import TokenTexts
from heatbath.serve.openai.response_output import OutputBuilder
from heatbath.serve.openai.schema.responses import OutputMessage
from heatbath.serve.openai.tool_calls import ToolCallReader

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
LOGPROBS = "message.output_text.logprobs"
CASES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "text": (["Café."], {}),
    "nothing": ([""], {}),
    "cut": (["Hello."], {"max_output_tokens": 3}),
    "logprobs": (["Café."], {"include": [LOGPROBS], "top_logprobs": 2}),
    "call": ([CALL], {"tools": [WEATHER]}),
    "text and calls": (["I look.\n" + CALL + "\n" + CALL], {"tools": [WEATHER], "include": [LOGPROBS]}),
    "cut call": ([CALL], {"tools": [WEATHER], "max_output_tokens": 55}),
    "almost a call": (["a <tool_cat"], {"tools": [WEATHER], "include": [LOGPROBS]}),
    "json": (['{"a": 1}'], {"text": {"format": {"type": "json_object"}}}),
    "best of": (["A", "B"], {"thermo": {"sampler": "best-of", "options": {"n": 2}}}),
    "thermo": (["AB"], {"thermo": {"record": "state"}, "return_token_ids": True}),
}


def respond(made: Server, ask: Callable[[openai.AsyncOpenAI], Awaitable[Any]]) -> Any:
    return asked(made, ask)


def without_ids(response: dict[str, Any]) -> dict[str, Any]:
    own = response["id"].removeprefix("resp_")
    kept: dict[str, Any] = json.loads(json.dumps(response).replace(own, "ID"))
    return kept | {"created_at": 0, "completed_at": kept["completed_at"] and 0}


@pytest.mark.parametrize("name", CASES)
def test_a_stream_adds_up_to_the_response_in_one_piece(name: str) -> None:
    texts, body = CASES[name]
    made = server(Scripted(texts))
    whole = made.respond(**body).json()
    events = read_events(made.respond(**body, stream=True).text)
    assert without_ids(replay(events)) == without_ids(whole)
    assert set(whole) >= REQUIRED


def test_text() -> None:
    made = server(Scripted(["Café."]))
    answer = respond(
        made,
        lambda client: client.responses.create(
            model="gpt-4o", input="hi", instructions="Be brief.", temperature=0.5, metadata={"k": "v"}, user="me"
        ),
    )
    assert answer.output_text == "Café." and answer.status == "completed" and answer.model == "mock"
    assert answer.completed_at is not None and answer.error is None and answer.incomplete_details is None
    assert answer.metadata == {"k": "v"} and answer.temperature == 0.5 and answer.instructions == "Be brief."
    assert answer.usage.output_tokens == 7 and answer.usage.input_tokens_details.cached_tokens == 2
    assert answer.usage.total_tokens == answer.usage.input_tokens + 7
    # Fields of Open Responses that the client does not know.
    assert set(answer.model_extra) == {"presence_penalty", "frequency_penalty", "store"}
    (request,) = made.services.engine.requests  # type: ignore[attr-defined]
    assert bytes(request.prompt) == b"system: Be brief.\nuser: hi\n" and request.temperature == 0.5
    (kept,) = made.store.answers.values()
    assert kept.request.endpoint == "/v1/responses" and "instructions" not in kept.request.settings


def test_the_streaming_helper_of_the_client_reads_the_events() -> None:
    async def ask(client: openai.AsyncOpenAI) -> Any:
        async with client.responses.stream(model="mock", input="hi", tools=[WEATHER]) as stream:  # type: ignore[list-item]
            kinds = [event.type async for event in stream]
            return kinds, await stream.get_final_response()

    kinds, final = respond(server(Scripted(["Hm.\n" + CALL])), ask)
    assert [item.type for item in final.output] == ["message", "function_call"]
    assert json.loads(final.output[1].arguments) == {"city": "Rome"}
    assert kinds[-3:] == [
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_parse_gives_the_type_that_was_asked_for() -> None:
    class City(pydantic.BaseModel):
        name: str

    made = server(Scripted(['{"name": "Rome"}']))
    answer = respond(made, lambda client: client.responses.parse(model="mock", input="hi", text_format=City))
    assert answer.output_parsed == City(name="Rome")
    (request,) = made.services.engine.requests  # type: ignore[attr-defined]
    assert any(field.name == "json_schema" for field in request.fields)
    assert answer.text.format.name == "City" and answer.text.format.strict is True


def test_a_tool_loop_by_items_and_by_previous_response() -> None:
    made = server(Scripted([CALL]))
    engine: Any = made.services.engine
    first = made.respond("Weather?", tools=[WEATHER], tool_choice="required").json()
    (call,) = first["output"]
    assert call["type"] == "function_call" and call["status"] == "completed" and first["tool_choice"] == "required"
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    engine.texts = ["It is sunny."]
    by_items = made.respond([{"role": "user", "content": "Weather?"}, call, result]).json()
    by_id = made.respond([result], previous_response_id=first["id"]).json()
    assert by_items["output"][0]["content"][0]["text"] == "It is sunny."
    assert engine.requests[-1].prompt == engine.requests[-2].prompt and b"sunny" in bytes(engine.requests[-1].prompt)
    assert by_id["previous_response_id"] == first["id"]
    by_both = made.respond("Sure?", previous_response_id=by_id["id"])
    assert by_both.status_code == 200 and bytes(engine.requests[-1].prompt).endswith(
        b"assistant: It is sunny.\nuser: Sure?\n"
    )


def test_references_name_stored_items() -> None:
    made = server(Scripted(["Hello."]))
    engine: Any = made.services.engine
    first = made.respond("hi").json()
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    assert made.respond([{"role": "user", "content": "hi"}, reference, {"role": "user", "content": "so"}]).is_success
    assert bytes(engine.requests[-1].prompt) == b"user: hi\nassistant: Hello.\nuser: so\n"
    # What the context holds already is not repeated.
    assert made.respond([{"id": reference["id"]}, {"role": "user", "content": "so"}], previous_response_id=first["id"])
    assert bytes(engine.requests[-1].prompt) == b"user: hi\nassistant: Hello.\nuser: so\n"
    lost = made.respond([{"type": "item_reference", "id": "msg_" + "0" * 32 + "_0"}])
    assert lost.status_code == 400 and lost.json()["error"]["param"] == "input[0].id"


def test_log_probabilities_are_those_of_the_text_alone() -> None:
    made = server(Scripted(["ab" + CALL]))
    body = {"tools": [WEATHER], "include": [LOGPROBS], "top_logprobs": 1}
    message, call = made.respond(**body).json()["output"]
    assert [entry["token"] for entry in message["content"][0]["logprobs"]] == ["a", "b"]
    assert [len(entry["top_logprobs"]) for entry in message["content"][0]["logprobs"]] == [1, 1]
    assert call["name"] == "weather"
    plain = made.respond(include=[LOGPROBS]).json()["output"][0]["content"][0]
    assert "".join(entry["token"] for entry in plain["logprobs"]) == "ab" + CALL
    assert made.respond().json()["output"][0]["content"][0]["logprobs"] == []


def test_thermo_is_that_of_a_chat() -> None:
    made = server(Scripted(["AB"]))
    body: dict[str, Any] = {"thermo": {"record": "state", "windows": {"min_p": 0.1}}, "top_k": 5, "seed": 3}
    response, chat = made.respond(**body).json(), made.chat(**body).json()
    assert response["thermo"] == chat["choices"][0]["thermo"] | chat["thermo"]
    ours, theirs = made.services.engine.requests  # type: ignore[attr-defined]
    assert ours.windows == theirs.windows and ours.seed == theirs.seed == 3
    events = read_events(made.respond(**body, stream=True).text)
    deltas = [event for event in events if event["type"].endswith(".delta")]
    assert [event["thermo"]["records"]["text"] for event in deltas] == [["A"], ["B"]]


def test_what_is_cut_short_is_incomplete() -> None:
    made = server()
    answer = made.respond(max_output_tokens=3).json()
    assert answer["status"] == "incomplete" and answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["output"][0]["status"] == "incomplete" and answer["completed_at"] is None
    assert answer["max_output_tokens"] == 3


def test_a_fault_on_the_way_is_an_event_and_one_before_it_a_status() -> None:
    made = server(MockEngine(fault=ModelError("the weights are gone."), fault_after=2))
    events = read_events(made.respond(stream=True).text)
    failed = replay(events)
    assert failed["status"] == "failed" and failed["error"] == {
        "code": "server_error",
        "message": "the weights are gone.",
    }
    assert made.store.answers == {} and [ended.status for ended in made.seen.ended_] == [500]
    early = server(MockEngine(unavailable_reason="starting")).respond(stream=True)
    assert early.status_code == 503 and early.json()["error"]["code"] == "unavailable"


def test_storage_is_told_in_words_that_hold() -> None:
    made = server()
    made.store.down = True
    answer = made.respond(max_output_tokens=2)
    assert answer.status_code == 200 and answer.json()["store"] is False
    assert answer.headers["x-heatbath-stored"] == "false"
    assert made.respond(max_output_tokens=2, store=True).status_code == 503
    text = made.respond(max_output_tokens=2, store=True, stream=True).text
    assert replay(read_events(text))["error"]["message"].startswith("the database is down")
    made.store.down = False
    assert made.respond(max_output_tokens=2).json()["store"] is True
    hidden = made.respond(max_output_tokens=2, store=False).json()
    assert hidden["store"] is False
    assert made.client.get(f"/v1/responses/{hidden['id']}").status_code == 404
    follow = made.respond("more", previous_response_id=hidden["id"])
    assert follow.status_code == 400 and follow.json()["error"]["code"] == "previous_response_not_found"
    careless = server(storage={"content": False})
    assert careless.respond(max_output_tokens=2, store=True).json()["error"]["param"] == "store"
    assert careless.respond(max_output_tokens=2).json()["store"] is False


def test_truncation_drops_the_oldest_turns() -> None:
    made = server()
    turns = [{"role": role, "content": f"{role} {i} " + "x" * 400} for i in range(10) for role in ("user", "assistant")]
    last = {"role": "user", "content": "last"}
    refused = made.respond([*turns, last])
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "input"
    body: dict[str, Any] = {"instructions": "Be brief.", "max_output_tokens": 100}
    answer = made.respond([*turns, last], truncation="auto", **body).json()
    prompt = answer["usage"]["input_tokens"]
    assert answer["truncation"] == "auto" and 4096 - 2 * 440 < prompt + 100 <= 4097
    short = made.respond([last], truncation="auto", **body).json()
    assert short["usage"]["input_tokens"] == len("system: Be brief.\nuser: last\n")


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 3}, "input"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "poet", "content": "x"}]}, "input[0].role"),
    ({"input": ["x"]}, "input[0]"),
    ({"input": [{"type": "computer_call", "id": "1"}]}, "input[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
    ({"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]}, "input[0].call_id"),
    ({"previous_response_id": "resp_x"}, "previous_response_id"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 10**6}, "max_output_tokens"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"include": ["everything"]}, "include[0]"),
    ({"background": True}, "background"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"messages": []}, "messages"),
    ({"max_tokens": 3}, "max_tokens"),
    ({"n": 2}, "n"),
    ({"response_format": {"type": "text"}}, "response_format"),
    ({"thermo": {"sampler": "none such"}}, "thermo.sampler"),
    ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
]


@pytest.mark.parametrize(("body", "param"), REFUSALS, ids=[param for _, param in REFUSALS])
def test_what_is_not_served_is_refused_by_its_name(body: dict[str, Any], param: str) -> None:
    answer = server().post("/v1/responses", {"input": "hi", **body})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == param, error
    assert param == "messages" or "messages" not in error["message"]
    assert "max_completion_tokens" not in error["message"]


def test_what_has_no_effect_is_listed() -> None:
    made = server()
    item = {"type": "message", "role": "user", "content": "hi", "mood": "good"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    answer = made.respond(
        [thought, item], max_output_tokens=2, reasoning={"effort": "low"}, text={"verbosity": "low"}, background=False
    )
    assert answer.status_code == 200
    listed = set(answer.headers["x-heatbath-ignored"].split(", "))
    assert listed == {"reasoning", "text.verbosity", "input.reasoning", "input.mood"}


def test_a_summary_stands_in_the_place_of_a_conversation() -> None:
    made = server(Scripted(["They met in Rome."]))
    engine: Any = made.services.engine
    first = made.respond("hi").json()
    body = {"input": "so?", "previous_response_id": first["id"]}
    compacted = made.post("/v1/responses/compact", body).json()
    assert compacted["object"] == "response.compaction" and compacted["usage"]["output_tokens"] == 18
    asked_for = bytes(engine.requests[-1].prompt)
    assert asked_for.startswith(b"user: hi\nassistant: They met in Rome.\nuser: so?\nuser: Summarize")
    assert engine.requests[-1].temperature == 0
    (item,) = compacted["output"]
    assert made.respond([item, {"role": "user", "content": "where?"}], instructions="Be brief.").status_code == 200
    expected = b"system: Be brief.\n\nThe conversation so far, in short:\nThey met in Rome.\nuser: where?\n"
    assert bytes(engine.requests[-1].prompt) == expected
    for content in ("", "x", "c2VjcmV0", "\u00e9"):
        refused = made.respond([{"type": "compaction", "encrypted_content": content}])
        assert refused.status_code == 400 and refused.json()["error"]["param"] == "input[0].encrypted_content"
    assert made.client.get(f"/v1/responses/{compacted['id']}").status_code == 404


def test_any_cut_of_a_text_gives_the_same_items() -> None:
    """A property of the builder: items do not depend on how the text arrives."""
    texts = TokenTexts(ByteModelInfo())

    @hypothesis.given(
        st.lists(st.sampled_from(["a", "é", "<tool", "<tool_call>", CALL, "\n", "}", "</tool_call>"]), max_size=6),
        st.lists(st.integers(1, 12), min_size=1, max_size=8),
    )
    @hypothesis.settings(max_examples=60, deadline=None)
    def check(pieces: list[str], sizes: list[int]) -> None:
        data = "".join(pieces)
        whole, cut = (OutputBuilder("0" * 32, texts, 1, ToolCallReader()) for _ in range(2))
        tokens = [Token(byte, -0.5, [(byte, -0.5)]) for byte in data.encode()]
        deque(whole.push(data, tokens), maxlen=0)
        deque(whole.finish("completed"), maxlen=0)
        events, start = [], 0
        for size in itertools.cycle(sizes):
            if start >= len(data):
                break
            part = data[start : start + size]
            begin, end = len(data[:start].encode()), len(data[: start + size].encode())
            events += [json.loads(msgspec.json.encode(event)) for event in cut.push(part, tokens[begin:end])]
            start += size
        events += [json.loads(msgspec.json.encode(event)) for event in cut.finish("completed")]
        assert cut.items == whole.items
        shown = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert shown == "".join(part.text for item in whole.items for part in getattr(item, "content", ()))
        for item in whole.items[:1]:
            if isinstance(item, OutputMessage):
                scored = "".join(entry.token for entry in item.content[0].logprobs)
                assert scored.encode("utf-8", "replace").count(b"a") == item.content[0].text.count("a")

    check()
