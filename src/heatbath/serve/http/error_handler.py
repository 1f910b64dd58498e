"""Whatever goes wrong inside becomes an answer of the error contract, or the last event of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from heatbath.serve.errors import as_api_error
from heatbath.serve.http.asgi import ResponseTracker
from heatbath.serve.logging import Logger, describe_error


class IncompleteResponse(Exception):
    """An answer whose length was promised cannot be finished; the connection has to end."""


@dataclass(frozen=True)
class ErrorMiddleware:
    """Turns exceptions into answers; bugs are logged by kind and place."""

    app: ASGIApp
    log: Logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        told = ResponseTracker(send)
        try:
            await self.app(scope, receive, told)
        except ClientDisconnect:
            return
        except Exception as error:
            known = as_api_error(error)
            if known.code == "internal_error":
                self.log.error("bug", id=scope["state"]["id"], **describe_error(error))
            if not await told.report_error(known):
                raise IncompleteResponse from None
