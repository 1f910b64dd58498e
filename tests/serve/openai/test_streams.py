"""Streams: keep-alive, clients that go, errors on the way, and what is said of storage."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from scripted import Scripted
from serving import HELLO, Server, server

from heatbath.engine.mock import MockEngine, MockLatency
from heatbath.serve.openai.sse import KEEP_ALIVE, Outbox


class Client:
    """An ASGI client that keeps what it is sent, and can go."""

    def __init__(self, made: Server, path: str, body: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self._body: list[bytes] = [json.dumps({"model": "mock", **body}).encode()]
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        self.task = asyncio.create_task(made.app(self.scope, self.receive, self.send))

    async def receive(self) -> dict[str, Any]:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.sent if message["type"] == "http.response.body"]

    async def until(self, count: int) -> None:
        while len(self.bodies) < count:
            await asyncio.sleep(0.005)


def spoken(made: Server, **more: Any) -> tuple[list[Any], list[str]]:
    """The chunks of a stream, and its comments."""
    blocks = made.chat(stream=True, **more).text.strip().split("\n\n")
    chunks = [block.removeprefix("data: ") for block in blocks if block.startswith("data: ")]
    return [json.loads(c) if c != "[DONE]" else c for c in chunks], [b for b in blocks if b.startswith(":")]


def test_a_long_silence_is_filled_and_then_the_answer_comes() -> None:
    async def run() -> list[bytes]:
        made = server(MockEngine(MockLatency(first=0.25)), server={"page": False, "keep_alive_seconds": 0.05})
        client = Client(made, "/v1/chat/completions", {"messages": HELLO, "stream": True, "max_tokens": 2})
        await client.task
        return client.bodies

    bodies = asyncio.run(run())
    assert 2 <= bodies.count(KEEP_ALIVE) <= 5
    assert b"".join(bodies).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_the_engine_at_once(stream: bool) -> None:
    async def run() -> Server:
        engine = MockEngine(MockLatency(each=0.02))
        made = server(engine)
        client = Client(made, "/v1/chat/completions", {"messages": HELLO, "stream": stream, "max_tokens": 1000})
        while not engine.running:
            await asyncio.sleep(0.005)
        if stream:
            await client.until(3)
        client.gone.set()
        await asyncio.wait_for(client.task, 1)
        assert engine.running == 0
        return made

    made = asyncio.run(run())
    assert [answered.status for answered in made.seen.ended_] == [499]
    assert made.store.answers == {}


def test_a_client_that_goes_while_it_waits_frees_its_place() -> None:
    async def run() -> Server:
        engine = MockEngine(MockLatency(first=5))
        made = server(engine)
        client = Client(made, "/v1/chat/completions", {"messages": HELLO, "stream": True})
        while not engine.running:
            await asyncio.sleep(0.005)
        client.gone.set()
        await asyncio.wait_for(client.task, 1)
        assert engine.running == 0
        return made

    assert [answered.status for answered in asyncio.run(run()).seen.ended_] == [499]


def test_what_comes_at_once_goes_out_in_one_piece() -> None:
    async def run() -> list[bytes]:
        client = Client(
            server(Scripted(["abc", "def"])), "/v1/chat/completions", {"messages": HELLO, "stream": True, "n": 2}
        )
        await client.task
        return client.bodies

    assert asyncio.run(run())[0].count(b"data: ") >= 2


def test_an_outbox_gives_all_that_was_put() -> None:
    async def run() -> list[bytes]:
        box = Outbox(10.0)
        box.put(b"a")
        box.put(b"b")
        first = await box.get()
        asyncio.get_running_loop().call_later(0.01, box.put, b"c")
        second = await box.get()
        box.close()
        return [first, second, await box.get()]

    assert asyncio.run(run()) == [b"ab", b"c", b""]


def test_storage_comes_before_the_end_and_is_told() -> None:
    made = server()
    chunks, comments = spoken(made, max_tokens=3)
    assert chunks[-1] == "[DONE]" and comments == [": stored=true"]
    (kept,) = made.store.answers.values()
    assert kept.content is not None and kept.content["answers"] == ["The"]
    assert kept.content["messages"] == HELLO
    assert kept.records is not None and kept.records[0]["text"] == ["T", "h", "e"]
    assert kept.summary[0]["n"] == 3 and kept.finish_reasons == ["length"]


def test_what_is_not_stored_is_not_acknowledged() -> None:
    made = server()
    made.store.down = True
    chunks, comments = spoken(made, max_tokens=3)
    assert chunks[-1] == "[DONE]" and comments == [": stored=false"]
    answer = made.chat(max_tokens=3)
    assert answer.status_code == 200 and answer.headers["x-heatbath-stored"] == "false"


def test_what_had_to_be_stored_is_not_given() -> None:
    made = server()
    made.store.down = True
    chunks, comments = spoken(made, max_tokens=3, store=True)
    assert comments == [] and chunks[-1]["error"]["message"] == "the database is down: try again later."
    assert made.chat(max_tokens=3, store=True).status_code == 503
    assert [answered.status for answered in made.seen.ended_] == [503, 503]


def test_store_false_keeps_figures_without_content() -> None:
    made = server()
    answer = made.chat(max_tokens=3, store=False)
    (kept,) = made.store.answers.values()
    assert kept.content is None and kept.records is None and kept.summary
    assert made.client.get(f"/v1/chat/completions/{answer.json()['id']}").status_code == 404


def test_usage_in_every_chunk_and_padding_only_if_asked() -> None:
    made = server()
    chunks, _ = spoken(made, max_tokens=2, stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks[:-1]] == [0, 1, 2, 2, 2]
    plain, _ = spoken(made, max_tokens=2)
    assert not any("obfuscation" in chunk or "usage" in chunk for chunk in plain[:-1])
    padded, _ = spoken(made, max_tokens=2, stream_options={"include_obfuscation": True})
    assert all("obfuscation" in chunk for chunk in padded[:-1])


def test_limits_are_settled_however_it_ends() -> None:
    made = server(MockEngine(), limits={"concurrent": 1})
    for _ in range(3):
        assert made.chat(max_tokens=2).status_code == 200
        assert made.chat(max_tokens=2, stream=True).status_code == 200
        assert made.chat(max_tokens=2, n=200, stream=True).status_code == 400
    assert made.services.rate_limiter.accounts["local"].num_open == 0
