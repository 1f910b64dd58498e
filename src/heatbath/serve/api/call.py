"""One HTTP call of the API: who asks what of whom, and what it is refused for."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from heatbath.engine.base import ModelInfo, Request
from heatbath.serve.api import reading, refusing
from heatbath.serve.api.exchange import Exchange, Order
from heatbath.serve.api.schema.sampling import Sampling
from heatbath.serve.interfaces import RequestInfo, Tenant
from heatbath.serve.services import Services

T = TypeVar("T", bound=msgspec.Struct)

ENCODER = msgspec.json.Encoder()
_SAID_ELSEWHERE = frozenset({"model", "messages", "prompt", "tools", "stream", "input", "questions"})


@dataclass
class Call:
    """A request as handlers see it. `taken`: watchers have been told that it arrived."""

    request: HttpRequest
    endpoint: str
    unknown: list[str] = field(default_factory=list)
    taken: bool = False

    @property
    def services(self) -> Services:
        services: Services = self.request.app.state.services
        return services

    @property
    def language(self) -> ModelInfo:
        return self.services.engine.model_info

    @property
    def tenant(self) -> Tenant:
        tenant: Tenant = self.request.state.tenant
        return tenant

    async def body(self, type: type[T], table: Mapping[str, Any] | None = None) -> T:
        """The request's body; what it holds beyond `type` is refused by `table` or noted as ignored."""
        body = await self.request.body()
        asked, unknown = reading.decoded(body, type, depth=self.services.settings.server.max_depth)
        self.unknown = refusing.remaining(unknown, table or {})
        return asked

    def take(self, order: Order, tokens: int) -> Exchange:
        """Let it in: it will use up to `tokens` of prompt and answer.

        Raises:
            ApiError: 429, the tenant has none left.
        """
        lease = self.services.rate_limiter.acquire(self.tenant.name, tokens)
        self.request.state.headers.update(lease.headers)
        self.taken = True
        return Exchange(self.services, order, lease)

    def ticket(self, model: str, stream: bool, settings: Mapping[str, Any]) -> RequestInfo:
        """A ticket with an id of our own: that of the HTTP request may be the client's, and come twice."""
        more = {"request_id": self.request.state.id}
        return RequestInfo(
            uuid.uuid4().hex,
            self.tenant.name,
            self.endpoint,
            model,
            stream,
            self.request.state.started,
            time.time(),
            {**more, **settings},
        )

    def answer(self, body: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
        """A response in JSON."""
        every = {**reading.ignored(self.unknown), **(headers or {})}
        return Response(ENCODER.encode(body), status, every, "application/json")


def settings_of(asked: Sampling) -> dict[str, Any]:
    """What was asked for, without its text, ready for JSON."""
    given = {name: getattr(asked, name) for name in asked.__struct_fields__ if name not in _SAID_ELSEWHERE}
    found: dict[str, Any] = msgspec.to_builtins({name: value for name, value in given.items() if value is not None})
    return found


def order_of(call: Call, asked: Sampling, requests: Sequence[Request]) -> Order:
    """The order for a request of answers."""
    services = call.services
    ticket = call.ticket(services.model_names.model, bool(asked.stream), settings_of(asked))
    return Order(
        ticket,
        requests,
        n=asked.n or 1,
        content=services.settings.storage.content and asked.store is not False,
        must=bool(asked.store) or services.settings.storage.required,
    )
