"""Choices that a person decides on: the handle, the waiting, and what is released on every endpoint."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from gated import HELLO, TOOL, Gated, Pieces, Reply, call, gated, run, tool_call

RULES = """
rules:
  - {id: advice, match: {phrases: [invest]}, effect: escalate, severity: high}
  - {id: doubt, scope: [input], match: {phrases: [money]}, effect: escalate}
  - {id: cards, match: {personal_data: [card]}, effect: modify}
"""
TEXT = "You should invest all."


async def decide(server: Gated, action: str, **more: Any) -> list[Any]:
    """Decide on all items that wait, as soon as there are any; return them as the reviewer sees them."""
    items: list[Any] = []
    while not items:
        await asyncio.sleep(0.02)
        items = (await server.get("/v1/review")).json["data"]
    for item in items:
        body = {"action": action, "reason": "read it", **more}
        assert (await call(server.app, "POST", f"/v1/review/{item['id']}/decision", body)).status == 200
    return items


async def ask(server: Gated, path: str, **more: Any) -> Reply:
    given = {
        "/v1/chat/completions": {"messages": HELLO},
        "/v1/completions": {"prompt": "Say: ", "max_tokens": 99},
        "/v1/responses": {"input": "hi"},
        "/v1/messages": {"messages": HELLO, "max_tokens": 99},
        "/v1/responses/compact": {"input": "hi"},
    }
    return await server.post(path, {**given[path], **more})


PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/responses/compact"]


@pytest.mark.parametrize("path", PATHS)
def test_a_held_answer_is_a_handle_until_it_is_decided(tmp_path: Path, path: str) -> None:
    async def test() -> None:
        async with gated(tmp_path, RULES, Pieces([TEXT]), review={}) as server:
            reply = await ask(server, path)
            handle = reply.json
            assert reply.status == 202 and handle["status"] == "pending" and "invest" not in reply.body.decode()
            assert handle["url"] == f"/v1/review/{handle['id']}"
            stored = server.outcome
            assert stored.status == 202 and list(stored.finish_reasons) == ["content_filter"]
            assert stored.summary[0]["policy"]["review"]["status"] == "pending" and "invest" not in str(stored)
            assert (await server.get(handle["url"])).status == 202
            (item,) = await decide(server, "approve")
            assert (item["text"], item["rules"], item["priority"]) == (TEXT, ["advice"], 2)
            released = await server.get(handle["url"])
            assert released.status == 200
            if "compact" not in path:
                assert TEXT in released.body.decode()

    run(test)


@pytest.mark.parametrize(("action", "text"), [("approve", TEXT), ("edit", "Ask a bank."), ("reject", "")])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_may_wait(tmp_path: Path, action: str, text: str, stream: bool) -> None:
    async def test() -> None:
        async with gated(tmp_path, RULES, Pieces([TEXT, "A boat."]), review={}) as server:
            more = {"text": text} if action == "edit" else {}
            for path in PATHS[:4]:
                extra: dict[str, Any] = {"stream": stream, "thermo": {"review": {"wait": 20}}}
                if path in PATHS[:2]:
                    extra["n"] = 2
                reply, _ = await asyncio.gather(ask(server, path, **extra), decide(server, action, **more))
                assert reply.status == 200
                body = reply.body.decode()
                assert (TEXT in joined_text(body, stream)) == (action == "approve")
                assert text in joined_text(body, stream)
                status = {"approve": "approved", "edit": "edited", "reject": "rejected"}[action]
                assert f'"status":"{status}"' in body.replace('"status": "', '"status":"')
                policy = server.outcome.summary[0]["policy"]
                done = {"approve": "allow", "edit": "modify", "reject": "deny"}[action]
                assert (policy["verdict"], policy["action"]) == ("escalate", done)
                assert text in json.dumps(server.outcome.content) and (action == "approve") == (
                    TEXT in str(server.outcome)
                )

    run(test)


def joined_text(body: str, stream: bool) -> str:
    """The text of a body; that of all deltas of a stream."""
    if not stream:
        return body
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    found = ""
    for event in events:
        for choice in event.get("choices", ()):
            if choice["index"] == 0:
                found += choice.get("text") or choice.get("delta", {}).get("content") or ""
        delta = event.get("delta")
        found += delta if isinstance(delta, str) else (delta or {}).get("text", "")
    return found


def test_a_stream_that_does_not_wait_ends_with_the_handle(tmp_path: Path) -> None:
    async def test() -> None:
        async with gated(tmp_path, RULES, Pieces([TEXT, "A boat."]), review={}) as server:
            reply = await server.chat(n=2, stream=True)
            assert reply.ends[1]["finish_reason"] == "stop" and b"boat" not in reply.pieces[0]
            end = reply.ends[0]
            assert end["finish_reason"] == "content_filter" and b"invest" not in reply.body
            policy = end["thermo"]["policy"]
            assert (policy["verdict"], policy["action"], policy["review"]["status"]) == ("escalate", "hold", "pending")
            await decide(server, "approve")
            released = (await server.get(policy["review"]["url"])).json
            assert [each["message"]["content"] for each in released["choices"]] == [TEXT, "A boat."]

    run(test)


def test_prefer_wait_is_a_wait_too(tmp_path: Path) -> None:
    async def test() -> None:
        async with gated(tmp_path, RULES, Pieces([TEXT]), review={"timeout_seconds": 0.2}) as server:
            reply = await server.chat()
            assert reply.status == 202
            reply = await server.post("/v1/chat/completions", {"messages": HELLO}, prefer="respond-async, wait=20")
            choice = reply.json["choices"][0]
            assert choice["finish_reason"] == "content_filter"
            assert choice["thermo"]["policy"]["review"]["status"] == "rejected"

    run(test)


def test_an_escalated_input_sends_the_answer_to_a_person(tmp_path: Path) -> None:
    async def test() -> None:
        async with gated(tmp_path, RULES, Pieces([tool_call('{"x": 1}')]), review={}) as server:
            messages = [{"role": "user", "content": "Send money"}]
            reply = await server.post("/v1/chat/completions", {"messages": messages, "tools": [TOOL]})
            assert reply.status == 202
            (item,) = await decide(server, "approve")
            assert item["rules"] == ["doubt"] and '"name": "f"' in item["text"] and "Send money" in item["prompt"]
            released = (await server.get(f"/v1/review/{item['id']}")).json["choices"][0]
            assert released["finish_reason"] == "tool_calls" and released["message"]["tool_calls"]
            assert released["thermo"]["policy"]["verdict"] == "allow"

    run(test)


def test_a_queue_that_cannot_store_denies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heatbath.serve.interfaces import StoreUnavailable

    async def test() -> None:
        async with gated(tmp_path, RULES, Pieces([TEXT]), review={}) as server:

            async def fail(item: Any) -> str:
                raise StoreUnavailable("the database is down.")

            monkeypatch.setattr(server.services.review, "submit", fail)
            choice = (await server.chat()).json["choices"][0]
            assert choice["finish_reason"] == "content_filter" and choice["thermo"]["policy"]["action"] == "deny"
            assert choice["thermo"]["policy"]["faults"] == ["the review queue could not take the choice."]

    run(test)


def test_without_a_queue_escalation_is_a_denial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        async with gated(tmp_path, RULES, Pieces([TEXT])) as server:
            policy = (await server.chat()).json["choices"][0]["thermo"]["policy"]
            assert (policy["verdict"], policy["action"]) == ("escalate", "deny")

    run(test)


def test_a_share_of_what_passes_is_sent_too(tmp_path: Path) -> None:
    async def test() -> None:
        async with gated(tmp_path, RULES, Pieces(["A boat."]), review={"random_share": 1.0}) as server:
            for stream in (False, True):
                reply = await server.chat(stream=stream)
                assert reply.status == 200 and (stream or b"boat" in reply.body)
            items = await decide(server, "approve")
            assert [(item["text"], item["rules"]) for item in items] == [("A boat.", [])] * 2

    run(test)
