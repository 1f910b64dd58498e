"""The official client of Anthropic, through HTTP inside this process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from scripted import Scripted
from serving import HELLO, Server, server

from heatbath.engine.base import Overloaded, Unavailable
from heatbath.engine.mock import MockEngine, MockLatency

anthropic = pytest.importorskip("anthropic")

ASKED: dict[str, Any] = {"model": "mock", "messages": HELLO, "max_tokens": 400}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def asked(made: Server, ask: Callable[[Any], Awaitable[Any]]) -> Any:
    """What `ask` comes back with, from a client of this server."""

    async def run() -> Any:
        transport = httpx2.ASGITransport(made.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            options = {"base_url": "http://localhost", "api_key": "none", "http_client": http, "max_retries": 0}
            return await ask(anthropic.AsyncAnthropic(**options))

    return asyncio.run(run())


async def _stream(client: Any, **more: Any) -> Any:
    async with client.messages.stream(**ASKED, **more) as events:
        text = "".join([part async for part in events.text_stream])
        return text, await events.get_final_message()


def test_a_message_and_its_stream_are_the_same() -> None:
    made = server(Scripted(["Caf\u00e9."]))
    whole = asked(made, lambda client: client.messages.create(**ASKED))
    text, streamed = asked(made, _stream)
    assert whole.content[0].text == text == streamed.content[0].text == "Caf\u00e9."
    assert whole.stop_reason == streamed.stop_reason == "end_turn" and whole._request_id
    assert whole.usage == streamed.usage and whole.usage.cache_read_input_tokens == 2
    assert not whole.model_extra and asked(made, _count).input_tokens == whole.usage.input_tokens + 2


async def _count(client: Any) -> Any:
    return await client.messages.count_tokens(model="mock", messages=HELLO)


def test_tools_are_called_and_their_results_read() -> None:
    made = server(Scripted(["Let me see. " + CALL]))
    _, first = asked(made, lambda client: _stream(client, tools=[WEATHER], tool_choice={"type": "auto"}))
    assert first.stop_reason == "tool_use" and first.content[1].input == {"city": "Rome"}
    result = {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "sun"}
    turns = [*HELLO, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    asked(made, lambda client: client.messages.create(**{**ASKED, "messages": turns}, tools=[WEATHER]))
    prompt = bytes(made.services.engine.requests[-1].prompt)  # type: ignore[attr-defined]
    assert b"assistant: Let me see. \n<tool_call>" in prompt and b"<tool_response>\nsun\n</tool_response>" in prompt


@pytest.mark.parametrize(
    ("engine", "more", "kind"),
    [
        (None, {"model": "nobody"}, "NotFoundError"),
        (None, {"messages": []}, "BadRequestError"),
        (MockEngine(fault=Overloaded("full.", 2.0)), {}, "RateLimitError"),
        (MockEngine(fault=Unavailable("down.")), {}, "ServiceUnavailableError"),
    ],
)
def test_errors_are_the_clients_own(engine: Any, more: dict[str, Any], kind: str) -> None:
    with pytest.raises(getattr(anthropic, kind, anthropic.InternalServerError)) as raised:
        asked(server(engine), lambda client: client.messages.create(**{**ASKED, **more}))
    assert raised.value.body["error"]["message"] and raised.value.request_id


def test_an_error_on_the_way_is_raised() -> None:
    made = server(MockEngine(MockLatency(each=0.01), fault=Unavailable("the engine has stopped."), fault_after=3))
    with pytest.raises(anthropic.APIStatusError, match="the engine has stopped"):
        asked(made, _stream)
