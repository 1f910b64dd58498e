"""The official OpenAI client for Python, through HTTP inside this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import openai
import pytest
from scripted import Scripted
from serving import HELLO, Server, server

from heatbath.engine.base import Overloaded, Unavailable
from heatbath.engine.mock import MockEngine, MockLatency

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def asked(made: Server, ask: Callable[[openai.AsyncOpenAI], Awaitable[Any]]) -> Any:
    """What `ask` comes back with, from a client of this server."""

    async def run() -> Any:
        transport = httpx2.ASGITransport(made.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            client = openai.AsyncOpenAI(base_url="http://localhost/v1", api_key="none", http_client=http, max_retries=0)
            return await ask(client)

    return asyncio.run(run())


async def _chunks(stream: Awaitable[Any]) -> list[Any]:
    return [chunk async for chunk in await stream]


def test_chat() -> None:
    made = server(Scripted(["Hello."]))
    answer = asked(made, lambda client: client.chat.completions.create(model="gpt-4o", messages=HELLO, user="me"))
    assert answer.choices[0].message.content == "Hello."
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 7)
    assert answer.usage.prompt_tokens_details.cached_tokens == 2
    assert answer.model == "mock"
    assert answer._request_id
    assert not answer.model_extra and not answer.choices[0].model_extra


def test_stream_with_usage_adds_up_to_the_answer() -> None:
    made = server(Scripted(["Caf\u00e9.", "No."]))
    options = {"include_usage": True}
    chunks = asked(
        made,
        lambda client: _chunks(
            client.chat.completions.create(model="mock", messages=HELLO, n=2, stream=True, stream_options=options)
        ),
    )
    *parts, last = chunks
    assert last.choices == [] and last.usage.completion_tokens == 7 + 4
    assert all(part.usage is None for part in parts)
    assert len({chunk.id for chunk in chunks}) == 1
    for index, text in enumerate(["Caf\u00e9.", "No."]):
        own = [part.choices[0] for part in parts if part.choices[0].index == index]
        assert [choice.delta.role for choice in own] == ["assistant", *[None] * (len(own) - 1)]
        assert "".join(choice.delta.content or "" for choice in own) == text
        assert [choice.finish_reason for choice in own] == [*[None] * (len(own) - 1), "stop"]
        assert own[-1].delta.content is None


def test_the_streaming_helper_of_the_client_reads_our_stream() -> None:
    async def ask(client: openai.AsyncOpenAI) -> Any:
        async with client.chat.completions.stream(model="mock", messages=HELLO) as stream:
            return await stream.get_final_completion()

    assert asked(server(Scripted(["Hello."])), ask).choices[0].message.content == "Hello."


def test_json_schema_becomes_a_field_and_is_parsed_by_the_client() -> None:
    import pydantic

    class City(pydantic.BaseModel):
        name: str

    engine = Scripted(['{"name": "Rome"}'])
    answer = asked(
        server(engine),
        lambda client: client.chat.completions.parse(model="mock", messages=HELLO, response_format=City),
    )
    assert answer.choices[0].message.parsed == City(name="Rome")
    (field,) = engine.requests[0].fields
    assert field.name == "json_schema" and json.loads(field.value)["required"] == ["name"]


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "weather"}}])
def test_tools(choice: Any) -> None:
    engine = Scripted(["Let me see. " + CALL] if choice == "auto" else [CALL])
    answer = asked(
        server(engine),
        lambda client: client.chat.completions.create(
            model="mock", messages=HELLO, tools=[WEATHER], tool_choice=choice
        ),
    )
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Rome"})
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content == ("Let me see. " if choice == "auto" else None)
    assert [field.name for field in engine.requests[0].fields] == ["lark"]
    assert b"The weather of a city." in bytes(engine.requests[0].prompt)


def test_tools_in_a_stream() -> None:
    engine = Scripted([CALL + "\n" + CALL.replace("Rome", "Oslo")])
    chunks = asked(
        server(engine),
        lambda client: _chunks(
            client.chat.completions.create(model="mock", messages=HELLO, tools=[WEATHER], stream=True)
        ),
    )
    calls: dict[int, dict[str, str]] = {}
    for chunk in chunks:
        for part in chunk.choices[0].delta.tool_calls or ():
            if part.id:
                assert part.function.name == "weather" and part.function.arguments == ""
                calls[part.index] = {"id": part.id, "arguments": ""}
            calls[part.index]["arguments"] += part.function.arguments
    assert [json.loads(call["arguments"]) for call in calls.values()] == [{"city": "Rome"}, {"city": "Oslo"}]
    assert len({call["id"] for call in calls.values()}) == 2
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_text_where_a_call_was_allowed_is_a_text() -> None:
    answer = asked(
        server(Scripted(["a <tool is no call"])),
        lambda client: client.chat.completions.create(model="mock", messages=HELLO, tools=[WEATHER]),
    )
    assert answer.choices[0].message.content == "a <tool is no call"
    assert answer.choices[0].message.tool_calls is None and answer.choices[0].finish_reason == "stop"


def test_logprobs_spell_the_text() -> None:
    made = server(Scripted(["Caf\u00e9."]))
    answer = asked(
        made,
        lambda client: client.chat.completions.create(model="mock", messages=HELLO, logprobs=True, top_logprobs=3),
    )
    content = answer.choices[0].logprobs.content
    assert bytes(byte for token in content for byte in token.bytes).decode() == "Caf\u00e9."
    assert content[0].logprob == -0.67 and content[0].top_logprobs[1].token == "C"
    assert content[0].top_logprobs[2].logprob == -9999.0


def test_completions_score_a_prompt_as_evaluation_harnesses_ask() -> None:
    made = server(Scripted(["!!"]))
    answer = asked(
        made,
        lambda client: client.completions.create(
            model="mock", prompt=[[72, 105], [65]], temperature=0, max_tokens=1, logprobs=1, seed=1234, echo=True
        ),
    )
    first, second = answer.choices
    assert (first.text, second.text, second.index) == ("Hi!", "A!", 1)
    assert first.logprobs.tokens == ["H", "i", "!"]
    assert first.logprobs.token_logprobs == [None, -1.05, -0.33]
    assert first.logprobs.top_logprobs == [None, {"A": -0.1, "i": -1.05}, {"A": -0.1, "!": -0.33}]
    assert first.logprobs.text_offset == [0, 1, 2]


def test_embeddings_agree_in_both_formats() -> None:
    async def ask(client: openai.AsyncOpenAI) -> Any:
        texts = ["a cold day", "it is freezing", "stock prices"]
        packed = await client.embeddings.create(model="all-minilm-l6-v2", input=texts)
        plain = await client.embeddings.create(model="all-minilm-l6-v2", input=texts, encoding_format="float")
        return packed, plain

    packed, plain = asked(server(), ask)
    rows = [entry.embedding for entry in plain.data]
    for one, other in zip(packed.data, rows, strict=True):
        assert one.embedding == pytest.approx(other, abs=1e-6)
    dot = [sum(a * b for a, b in zip(rows[0], row, strict=True)) for row in rows]
    assert dot[0] == pytest.approx(1) and dot[1] > dot[2]
    assert plain.usage.prompt_tokens == 5 + 5 + 4


def test_decisions() -> None:
    questions: Any = [
        {"type": "predicate", "name": "p", "instructions": "It is cold."},
        {"type": "choice", "instructions": "Which?", "choices": [{"value": "A"}, {"value": True}]},
        {"type": "score", "instructions": "How much?", "levels": [{"label": "1"}, {"label": "2"}]},
    ]
    answer = asked(
        server(Scripted()),
        lambda client: client.decisions.create(model="mock", input="snow", questions=questions),
    )
    predicate, choice, score = answer.answers
    assert predicate.name == "p" and 0 < predicate.probability < 1
    assert choice.choice == "A" and sum(each.probability for each in choice.probabilities) == pytest.approx(1)
    assert score.score == pytest.approx(score.probabilities[1].probability)
    assert answer.usage.output_tokens == 0


def test_models() -> None:
    async def ask(client: openai.AsyncOpenAI) -> Any:
        listed = [model.id async for model in client.models.list()]
        return listed, await client.models.retrieve("gpt-4o")

    listed, one = asked(server(), ask)
    assert listed == ["mock", "gpt-4o", "all-minilm-l6-v2"] and one.object == "model"


def test_a_stored_answer_is_given_back() -> None:
    async def ask(client: openai.AsyncOpenAI) -> Any:
        answer = await client.chat.completions.create(model="mock", messages=HELLO, store=True, metadata={"a": "b"})
        return answer, await client.chat.completions.retrieve(answer.id)

    answer, kept = asked(server(Scripted()), ask)
    assert kept.model_dump() == answer.model_dump()


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (openai.NotFoundError, {"model": "nobody"}),
        (openai.BadRequestError, {"temperature": -1}),
    ],
)
def test_errors_are_the_clients_own(kind: type[openai.APIStatusError], error: dict[str, Any]) -> None:
    with pytest.raises(kind) as raised:
        asked(server(), lambda client: client.chat.completions.create(**{"model": "mock", "messages": HELLO, **error}))
    assert raised.value.param == next(iter(error))
    assert raised.value.request_id


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [(Overloaded("full.", 2.0), openai.RateLimitError, 429), (Unavailable("down."), openai.InternalServerError, 503)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_takes_nothing_has_a_status_of_its_own(
    fault: Any, kind: type[openai.APIStatusError], status: int, stream: bool
) -> None:
    made = server(MockEngine(fault=fault))
    with pytest.raises(kind) as raised:
        asked(made, lambda client: client.chat.completions.create(model="mock", messages=HELLO, stream=stream))
    assert raised.value.status_code == status
    assert "retry-after" in raised.value.response.headers
    assert [answered.status for answered in made.seen.ended_] == [status]


def test_an_error_on_the_way_ends_the_stream() -> None:
    made = server(MockEngine(MockLatency(each=0.01), fault=Unavailable("the engine has stopped."), fault_after=3))
    with pytest.raises(openai.APIError, match="the engine has stopped"):
        asked(
            made,
            lambda client: _chunks(client.chat.completions.create(model="mock", messages=HELLO, stream=True)),
        )
    assert [answered.status for answered in made.seen.ended_] == [503]
    assert made.store.answers == {}
