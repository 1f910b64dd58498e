"""The middleware around every request: id, log line, checks, admission, and errors turned into responses."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from heatbath.serve.errors import CLIENT_CLOSED_REQUEST, MESSAGE_PATH, as_api_error, unavailable_error
from heatbath.serve.http.asgi import ResponseSender, read_headers
from heatbath.serve.http.auth import HEALTH_PATHS, authenticate, required_scope
from heatbath.serve.http.body_limits import BodyReceiver, RequestHeaders, validate_body_headers
from heatbath.serve.http.host_check import validate_host
from heatbath.serve.lifecycle import ActiveRequest
from heatbath.serve.logging import describe_error
from heatbath.serve.services import Services

RETRY_SECONDS = 5.0
"""Seconds after which a client may try again while the server starts or stops."""

_ID_PATTERN = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class IncompleteResponse(Exception):
    """A response whose length was promised cannot be finished; the connection has to end."""


def generate_request_id() -> str:
    """Return a new request id."""
    return f"req_{uuid.uuid4().hex}"


def resolve_request_id(headers: RequestHeaders) -> str:
    """Return the client's id if it is safe to write anywhere, else a new one."""
    given = headers.get("x-request-id", ())
    return given[0] if len(given) == 1 and _ID_PATTERN.fullmatch(given[0]) else generate_request_id()


@dataclass(frozen=True)
class RequestMiddleware:
    """Handles whatever does not depend on the route of a request.

    Sets `request.state.id`, `.tenant`, `.started` (of `time.monotonic`) and `.headers`, to which handlers add headers
    of the response. Bugs are logged by type and place. Health is reported at any time, and what needs no model is
    served while the model is being loaded too.
    """

    app: ASGIApp
    services: Services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers, server = read_headers(scope), self.services.settings.server
        state = scope.setdefault("state", {})
        state.update(id=resolve_request_id(headers), started=time.monotonic(), headers={}, tenant=None)
        has_body = "transfer-encoding" in headers or headers.get("content-length", ("0",))[0] != "0"
        body = BodyReceiver(receive, has_body, server.max_body, server.read_timeout)
        sender = ResponseSender(send, body, state, is_message=scope["path"].startswith(MESSAGE_PATH))
        try:
            self._validate(scope, headers)
            await self._run(scope, body, sender)
        except ClientDisconnect:
            return
        except Exception as error:
            known = as_api_error(error)
            if known.code == "internal_error":
                self.services.log.error("bug", id=state["id"], **describe_error(error))
            if not await sender.report_error(known):
                raise IncompleteResponse from None
        finally:
            self._log_request(scope, CLIENT_CLOSED_REQUEST if sender.status is None else sender.status)

    def _validate(self, scope: Scope, headers: RequestHeaders) -> None:
        """Raise `ApiError` for a request that is refused whatever its body holds."""
        keys, server, lifecycle = self.services.keys, self.services.settings.server, self.services.lifecycle
        method, path = scope["method"], scope["path"]
        validate_host(scope, headers, server.hosts, is_open=not keys.tenants)
        scope["state"]["tenant"] = authenticate(keys, method, path, headers)
        if lifecycle.state != "open" and path not in HEALTH_PATHS:
            closing = lifecycle.is_draining
            if closing or required_scope(method, path) == "infer":
                message = f"{lifecycle.unavailable_reason}: try again in a few seconds."
                raise unavailable_error(message, RETRY_SECONDS, close_connection=closing)
        validate_body_headers(method, headers, server.max_body)

    async def _run(self, scope: Scope, receive: Receive, sender: ResponseSender) -> None:
        """Run the application as one of the active requests, which the end of the server waits for or cancels."""
        if scope["path"] in HEALTH_PATHS:
            return await self.app(scope, receive, sender)
        task = asyncio.current_task()
        assert task is not None
        active = ActiveRequest(required_scope(scope["method"], scope["path"]) == "infer", task)
        self.services.lifecycle.active_requests.add(active)
        try:
            await self.app(scope, receive, sender)
        except asyncio.CancelledError:
            if not active.is_cancelled:
                raise
            task.uncancel()
            message = "the server shut down before the response was complete: try again in a few seconds."
            await sender.report_error(unavailable_error(message, RETRY_SECONDS, close_connection=True))
        finally:
            self.services.lifecycle.active_requests.discard(active)

    def _log_request(self, scope: Scope, status: int) -> None:
        state, log = scope["state"], self.services.log
        write = log.debug if scope["path"] in HEALTH_PATHS else log.info
        write(
            "request",
            id=state["id"],
            method=scope["method"],
            path=scope["path"][:200],
            status=status,
            seconds=round(time.monotonic() - state["started"], 6),
            tenant=state["tenant"].name if state["tenant"] else None,
        )
