"""Two servers on one PostgreSQL: a client waits at one, a reviewer decides at the other, and either may be killed."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from process import Running, running
from reviewing import SECRET, chat_payload, item, opened

SETTINGS = {"metrics": {"enabled": False}, "server": {"page": False}}


def _call(server: Running, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    with server.ask(method, path, body) as response:
        return response.status, json.loads(response.read())


async def _submit(url: str, request: str) -> str:
    async with opened(url) as queue:
        return await queue.submit(item(request, tenant="local", text=SECRET, payload=chat_payload(request=request)))


def test_a_decision_at_one_server_ends_the_wait_at_the_other(postgres_url: str) -> None:
    chosen = {**SETTINGS, "storage": {"url": postgres_url}, "review": {"enabled": True}}
    with running(chosen) as one, running(chosen) as other:
        first, second = (asyncio.run(_submit(postgres_url, request)) for request in ("a", "b"))
        status, handle = _call(one, "GET", f"/v1/review/{first}")
        assert (status, handle["status"], handle["url"]) == (202, "pending", f"/v1/review/{first}")
        found: list[Any] = []
        waiter = threading.Thread(target=lambda: found.append(_call(one, "GET", f"/v1/review/{first}?wait=20")))
        waiter.start()
        assert _call(other, "POST", f"/v1/review/{first}/lock", {})[0] == 200
        assert _call(other, "POST", f"/v1/review/{first}/decision", {"action": "edit", "text": "new"})[0] == 200
        waiter.join(10)
        (status, released) = found[0]
        assert status == 200 and released["choices"][0]["message"]["content"] == "new"
        one.kill()
        status, refusal = _call(other, "POST", f"/v1/review/{first}/decision", {"action": "approve"})
        assert status == 409 and refusal["error"]["code"] == "already_decided"
        assert refusal["item"]["decision"]["action"] == "edit"
        assert _call(other, "GET", f"/v1/review/{second}")[0] == 202
        assert _call(other, "POST", f"/v1/review/{second}/decision", {"action": "approve"})[0] == 200
        assert _call(other, "GET", f"/v1/review/{second}") == (200, chat_payload(request="b"))
