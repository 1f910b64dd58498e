"""A request's id, its arrival time and its log line; the id goes on every answer."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heatbath.serve.api_keys import HEALTH_PATHS
from heatbath.serve.errors import CLIENT_CLOSED_REQUEST
from heatbath.serve.http.asgi import encode_headers, header_values
from heatbath.serve.logging import Logger

_ID_PATTERN = re.compile(rb"[A-Za-z0-9_.-]{1,128}")


def generate_request_id() -> str:
    """An id of our own."""
    return f"req_{uuid.uuid4().hex}"


def resolve_request_id(scope: Scope) -> str:
    """The client's id if it is one that can be written anywhere, else a new one."""
    asked = header_values(scope, b"x-request-id")
    return asked[0].decode() if len(asked) == 1 and _ID_PATTERN.fullmatch(asked[0]) else generate_request_id()


@dataclass(frozen=True)
class RequestIdMiddleware:
    """Sets `request.state.id`, `.started` (of `time.monotonic`) and `.headers`, which handlers add headers to."""

    app: ASGIApp
    log: Logger
    clock: Callable[[], float] = time.monotonic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        state = scope.setdefault("state", {})
        state.update(id=resolve_request_id(scope), started=self.clock(), headers={}, tenant=None)
        status = CLIENT_CLOSED_REQUEST

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(b"x-request-id", state["id"].encode()), *encode_headers(state["headers"])]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        try:
            await self.app(scope, receive, named)
        finally:
            self._log_request(scope, state, status)

    def _log_request(self, scope: Scope, state: dict[str, Any], status: int) -> None:
        say = self.log.debug if scope["path"] in HEALTH_PATHS else self.log.info
        tenant = state["tenant"].name if state["tenant"] else None
        seconds = round(self.clock() - state["started"], 6)
        path = scope["path"][:200]
        say("request", id=state["id"], method=scope["method"], path=path, status=status, seconds=seconds, tenant=tenant)
