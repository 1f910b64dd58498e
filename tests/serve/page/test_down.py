"""The page while the storage is down: what this process remembers is shown."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from heatbath.serve.dashboard import Feed, routes
from heatbath.serve.interfaces import RequestInfo, RequestOutcome, StoreUnavailable, Tenant
from heatbath.serve.telemetry import build_metrics


class Down:
    """A store and history that cannot be read."""

    async def _fail(self, *given: Any) -> Any:
        raise StoreUnavailable("the database does not answer.")

    list_recent = get = read_minutes = _fail


def services() -> Any:
    metrics = build_metrics(["mock"])
    feed = Feed(metrics.snapshot)
    return SimpleNamespace(
        metrics=metrics, observers=(metrics.request_metrics, feed), store=Down(), minute_store=Down()
    )


async def get(services: Any, path: str, query: str = "") -> Any:
    """What the route for `path` answers to tenant a."""
    route = next(route for route in routes() if route.path_regex.match(path))
    app = SimpleNamespace(state=SimpleNamespace(services=services))
    state = {"tenant": Tenant("a", frozenset({"read"}))}
    params = route.path_regex.match(path).groupdict()  # type: ignore[union-attr]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await route.app({**scope, "app": app, "state": state, "path_params": params}, lambda: None, send)  # type: ignore[arg-type]
    return json.loads(sent[1]["body"])


def test_requests_and_history_come_from_memory() -> None:
    async def main() -> None:
        made = services()
        ticket = RequestInfo("1", "a", "/v1/chat/completions", "mock", False, 0.0, 1.7e9)
        answered = RequestOutcome(
            ticket, 200, completion_tokens=1, content={"messages": [{"role": "user", "content": "hi"}]}
        )
        for watcher in made.observers:
            watcher.on_start(ticket)
            watcher.on_finish(answered)
        made.metrics.minute_history.tick()
        assert [row["id"] for row in (await get(made, "/page/requests"))["requests"]] == ["1"]
        assert (await get(made, "/page/requests/1"))["content"]["asked"] == [{"role": "user", "text": "hi"}]
        found = await get(made, "/page/history", "hours=1")
        assert found["stored"] is False
        assert sum(found["requests"]) * 60 == 1

    asyncio.run(main())
