"""Stored chat completions and responses, over HTTP and through the official client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
from scripted import Scripted
from serving import HELLO, Server, server
from test_client import asked

CHAT = "/v1/chat/completions"


def test_the_client_lists_reads_updates_and_deletes() -> None:
    made = server(Scripted(["Hello."]))

    async def ask(client: openai.AsyncOpenAI) -> None:
        completions = client.chat.completions
        ids = []
        for i in range(5):
            create: Any = completions.create
            made_one = await create(model="mock", messages=HELLO, store=True, metadata={"odd": str(i % 2)})
            ids.append(made_one.id)
        assert [found.id async for found in completions.list(limit=2)] == ids
        assert [found.id async for found in completions.list(limit=2, order="desc")] == ids[::-1]
        assert [found.id async for found in completions.list(metadata={"odd": "1"})] == ids[1::2]
        assert [found.id async for found in completions.list(model="gpt-4o")] == ids
        assert [found.id async for found in completions.list(model="other")] == []
        found = await completions.retrieve(ids[0])
        assert found.choices[0].message.content == "Hello." and found.metadata == {"odd": "0"}
        changed: Any = await completions.update(ids[0], metadata={"odd": "1", "new": "x"})
        assert changed.metadata == {"odd": "1", "new": "x"}
        assert [found.id async for found in completions.list(metadata={"new": "x"})] == ids[:1]
        messages = [message async for message in completions.messages.list(ids[0])]
        assert [(message.role, message.content) for message in messages] == [("user", "hi")]
        # Deleting what a list gives does not stop the list.
        async for found in completions.list(limit=2):
            assert (await completions.delete(found.id)).deleted
        assert [found async for found in completions.list()] == []
        with pytest.raises(openai.NotFoundError):
            await completions.retrieve(ids[0])

    asked(made, ask)


def test_the_client_reads_continues_and_deletes_responses() -> None:
    made = server(Scripted(["Hello."]))

    async def ask(client: openai.AsyncOpenAI) -> None:
        responses = client.responses
        first = await responses.create(model="mock", input="hi", metadata={"k": "v"})
        assert (await responses.retrieve(first.id)).to_dict() == first.to_dict()
        second = await responses.create(
            model="mock", input=[{"role": "user", "content": "so"}], previous_response_id=first.id
        )
        items = [item async for item in responses.input_items.list(second.id, order="asc", limit=1)]
        assert [item.content[0].text for item in items] == ["hi", "Hello.", "so"]  # type: ignore[union-attr]
        newest = [item async for item in responses.input_items.list(second.id)]
        assert [item.id for item in newest] == [item.id for item in items][::-1]
        with pytest.raises(openai.BadRequestError, match="has ended"):
            await responses.cancel(first.id)
        await responses.delete(first.id)
        for call in (responses.retrieve, responses.delete, responses.cancel, responses.input_items.list):
            with pytest.raises(openai.NotFoundError):
                await call(first.id)  # type: ignore[operator]
        # What continues from it has its items.
        third = await responses.create(model="mock", input="more", previous_response_id=second.id)
        assert third.usage is not None and third.usage.input_tokens > (second.usage.input_tokens if second.usage else 0)

    asked(made, ask)


BAD_QUERIES = [
    ("limit=0", "limit"),
    ("limit=101", "limit"),
    ("limit=x", "limit"),
    ("order=up", "order"),
    ("after=chatcmpl-none", "after"),
    ("limit=2&limit=2", "limit"),
    ("order=asc&after=x&order=desc", "order"),
    ("metadata=x", "metadata"),
    ("metadata[a]=1&metadata[a]=1", "metadata"),
]


@pytest.mark.parametrize(("query", "param"), BAD_QUERIES)
def test_a_query_that_cannot_be_met_is_refused_by_its_name(query: str, param: str) -> None:
    made = server(Scripted(["Hello."]))
    answer = made.client.get(f"{CHAT}?{query}")
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param
    if param != "metadata":
        response = made.respond().json()
        items = made.client.get(f"/v1/responses/{response['id']}/input_items?{query}")
        assert items.status_code == 400 and items.json()["error"]["param"] == param


def test_an_entry_of_a_list_may_be_repeated_in_a_query() -> None:
    made = server(Scripted(["Hello."]))
    made.respond()
    assert made.client.get(f"{CHAT}?include[]=a&include[]=b&metadata[a]=1&metadata[b]=1").status_code == 200
    assert made.client.get(f"{CHAT}?include=a&include=b").status_code == 200


def test_paths_take_their_methods_and_say_which() -> None:
    made = server()
    for method, path, allowed in (
        ("PUT", CHAT, {"GET", "HEAD", "POST"}),
        ("PATCH", f"{CHAT}/x", {"GET", "HEAD", "POST", "DELETE"}),
        ("PUT", "/v1/responses/x", {"GET", "HEAD", "DELETE"}),
        ("GET", "/v1/responses", {"POST"}),
    ):
        answer = made.client.request(method, path)
        assert answer.status_code == 405 and set(answer.headers["allow"].split(", ")) == allowed


def test_metadata_must_be_given_as_texts() -> None:
    made = server(Scripted(["Hello."]))
    id = made.chat().json()["id"]
    for body, param in (({}, "metadata"), ({"metadata": {"a": 1}}, "metadata")):
        answer = made.client.post(f"{CHAT}/{id}", json=body)
        assert answer.status_code == 400 and answer.json()["error"]["param"].startswith(param)


def test_answers_are_their_tenants_alone_and_what_is_deleted_is_gone_from_the_file(tmp_path: Path) -> None:
    made = tenants(tmp_path)
    ann, bob = ({"authorization": f"Bearer {key}"} for key in ("ann-key", "bob-key"))
    chat = made.post(CHAT, {"messages": HELLO, "metadata": {"k": "v"}}, headers=ann).json()["id"]
    response = made.post("/v1/responses", {"input": "hi"}, headers=ann).json()["id"]
    assert made.client.get(CHAT, headers=bob).json()["data"] == []
    for method, path in (
        ("GET", f"{CHAT}/{chat}"),
        ("POST", f"{CHAT}/{chat}"),
        ("DELETE", f"{CHAT}/{chat}"),
        ("GET", f"{CHAT}/{chat}/messages"),
        ("GET", f"/v1/responses/{response}"),
        ("DELETE", f"/v1/responses/{response}"),
        ("GET", f"/v1/responses/{response}/input_items"),
        ("POST", f"/v1/responses/{response}/cancel"),
    ):
        body = {"json": {"metadata": {}}} if method == "POST" else {}
        assert made.client.request(method, path, headers=bob, **body).status_code == 404, path
    stolen = made.post("/v1/responses", {"input": "x", "previous_response_id": response}, headers=bob)
    assert stolen.json()["error"]["code"] == "previous_response_not_found"
    assert made.client.get(CHAT, headers=ann, params={"after": chat}).json()["data"] == []
    assert [entry["id"] for entry in made.client.get(CHAT, headers=ann).json()["data"]] == [chat]
    # One kind is not found by the paths of the other.
    assert made.client.get(f"/v1/responses/resp_{chat.removeprefix('chatcmpl-')}", headers=ann).status_code == 404


def tenants(tmp_path: Path) -> Server:
    """A server with two keys."""
    from hashlib import sha256

    from heatbath.serve.http.auth import build_keyring
    from heatbath.serve.settings import KeySettings

    made = server(Scripted(["Hello."]))
    keys = {name: KeySettings(sha256=sha256(f"{name}-key".encode()).hexdigest()) for name in ("ann", "bob")}
    object.__setattr__(made.services, "keys", build_keyring(keys))
    return made
