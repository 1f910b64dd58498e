"""A server in this process over a mock engine: its store in memory, a client that speaks HTTP to it, a watcher."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from heatbath.engine.base import Engine, TokensGenerated
from heatbath.engine.mock import MockEngine
from heatbath.serve.app import build_app
from heatbath.serve.http.auth import build_keyring
from heatbath.serve.interfaces import AnswerConfidence, AnswerQuery, RequestInfo, RequestOutcome, StoreUnavailable
from heatbath.serve.model_names import ModelNames
from heatbath.serve.services import Services
from heatbath.serve.settings import Settings

HELLO = [{"role": "user", "content": "hi"}]


@dataclass
class Kept:
    """A store in memory; `down` makes it fail."""

    answers: dict[str, RequestOutcome] = field(default_factory=dict)
    down: bool = False

    @property
    def unavailable_reason(self) -> str | None:
        return "the database is down." if self.down else None

    async def save(self, answered: RequestOutcome) -> None:
        if self.down:
            raise StoreUnavailable("the database is down: try again later.")
        self.answers[answered.request.id] = answered

    async def get(self, id: str, tenant: str | None) -> RequestOutcome | None:
        found = self.answers.get(id)
        return found if found is not None and tenant in (None, found.request.tenant) else None

    async def list_recent(self, count: int, tenant: str | None) -> list[RequestOutcome]:
        return list(self.answers.values())[-count:][::-1]

    async def list_answers(self, query: AnswerQuery) -> list[RequestOutcome]:
        found = list(self.answers.values())[:: 1 if query.ascending else -1]
        if query.after is not None:
            found = found[[o.request.id for o in found].index(query.after) + 1 :]
        return [o for o in found if o.content is not None and _meets(o, o.content, query)][: query.limit]

    async def update_metadata(self, id: str, tenant: str, metadata: Mapping[str, str]) -> bool:
        found = await self.get(id, tenant)
        if found is None or found.content is None:
            return False
        self.answers[id] = replace(found, content={**found.content, "metadata": dict(metadata)})
        return True

    async def delete_content(self, id: str, tenant: str) -> bool:
        found = await self.get(id, tenant)
        if found is None or found.content is None:
            return False
        self.answers[id] = replace(found, content=None, records=None)
        return True

    async def label_choice(self, id: str, tenant: str, choice: int, *, is_right: bool) -> AnswerConfidence | None:
        found = await self.get(id, tenant)
        return None if found is None else next((c for c in found.confidences if c.choice == choice), None)

    async def list_confidences(self, calibrator: str, limit: int) -> list[tuple[str, AnswerConfidence]]:
        return []


def _meets(outcome: RequestOutcome, content: Mapping[str, Any], query: AnswerQuery) -> bool:
    request = outcome.request
    is_own = (request.tenant, request.endpoint) == (query.tenant, query.endpoint)
    is_labeled = query.metadata.items() <= (content.get("metadata") or {}).items()
    return is_own and query.model in (None, request.model) and is_labeled


@dataclass
class Seen:
    """Everything a watcher is told."""

    arrived_: list[RequestInfo] = field(default_factory=list)
    ended_: list[RequestOutcome] = field(default_factory=list)
    grown: list[TokensGenerated] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)

    def on_start(self, ticket: RequestInfo) -> None:
        self.arrived_.append(ticket)

    def on_tokens(self, ticket: RequestInfo, grown: TokensGenerated) -> None:
        self.grown.append(grown)

    def on_finish(self, answered: RequestOutcome) -> None:
        self.ended_.append(answered)

    def on_rejection(self, endpoint: str, code: str) -> None:
        self.refusals.append((endpoint, code))


@dataclass
class Server:
    """The parts of a server under test."""

    app: Starlette
    services: Services
    store: Kept
    seen: Seen
    client: TestClient

    def post(self, path: str, body: Any, **more: Any) -> Any:
        return self.client.post(path, json={"model": "mock", **body}, **more)

    def chat(self, messages: Sequence[Any] = HELLO, **more: Any) -> Any:
        return self.post("/v1/chat/completions", {"messages": messages, **more})

    def respond(self, input: Any = "hi", **more: Any) -> Any:
        return self.post("/v1/responses", {"input": input, **more})

    def complete(self, prompt: Any, **more: Any) -> Any:
        return self.post("/v1/completions", {"prompt": prompt, **more})


@contextmanager
def started(made: Server) -> Iterator[Server]:
    """The server while its engine runs, in a lifespan of its own."""
    with made.client:
        end = time.monotonic() + 30
        while made.services.engine.unavailable_reason is not None and time.monotonic() < end:
            time.sleep(0.01)
        yield made


def server(engine: Engine | None = None, *, phase_map: Any = None, indexes: Any = None, **settings: Any) -> Server:
    """A server whose gate is open; `settings` are sections of the settings."""
    store, seen = Kept(), Seen()
    made = Settings(**{"server": {"page": False}, "metrics": {"enabled": False}, **settings})
    services = Services(
        made,
        engine or MockEngine(),
        store,
        ModelNames("mock", {"gpt-4o": "mock"}),
        observers=[seen],
        phase_map=phase_map,
        indexes=indexes,
        keys=build_keyring(made.keys),
    )
    services.lifecycle.open()
    app = build_app(services)
    return Server(app, services, store, seen, TestClient(app, base_url="http://localhost"))
