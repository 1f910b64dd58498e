"""The trace that a request belongs to, from its `traceparent` header."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.context import attach, detach
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

_TRACE_HEADERS = (b"traceparent", b"tracestate")


@dataclass(frozen=True)
class TraceContextMiddleware:
    """ASGI middleware: what runs inside finds the client's span as its parent. A header that is wrong is no header."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        carried = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _TRACE_HEADERS}
        token = attach(TraceContextTextMapPropagator().extract(carried))
        try:
            await self.app(scope, receive, send)
        finally:
            detach(token)
