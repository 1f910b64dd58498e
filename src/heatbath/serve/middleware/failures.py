"""Whatever goes wrong inside becomes an answer of the error contract, or the last event of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from heatbath.serve.errors import as_api_error
from heatbath.serve.logs import Log, where
from heatbath.serve.middleware.common import Told


class Torn(Exception):
    """An answer whose length was promised cannot be finished; the connection has to end."""


@dataclass(frozen=True)
class Answering:
    """Turns exceptions into answers; bugs are logged by kind and place."""

    app: ASGIApp
    log: Log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        told = Told(send)
        try:
            await self.app(scope, receive, told)
        except ClientDisconnect:
            return
        except Exception as error:
            known = as_api_error(error)
            if known.code == "internal_error":
                self.log.error("bug", id=scope["state"]["id"], **where(error))
            if not await told.error(known):
                raise Torn from None
