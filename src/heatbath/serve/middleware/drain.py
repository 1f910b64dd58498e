"""Lets requests in only while the gate is open, and tells those cut short at the end that they were."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from heatbath.serve.errors import unavailable
from heatbath.serve.gate import Gate, Visit
from heatbath.serve.keys import HEALTH, wanted_scope
from heatbath.serve.middleware.common import Told

ASK_AGAIN = 5.0
"""Seconds until a client may ask again."""


@dataclass(frozen=True)
class Drained:
    """Health is told at any time; what needs no model, while it is being loaded too."""

    app: ASGIApp
    gate: Gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in HEALTH:
            return await self.app(scope, receive, send)
        work = wanted_scope(scope["method"], scope["path"]) == "infer"
        trouble = self.gate.trouble
        if trouble is not None and (work or self.gate.draining):
            raise unavailable(f"{trouble}: try again in a few seconds.", ASK_AGAIN, closing=self.gate.draining)
        task = asyncio.current_task()
        assert task is not None
        await self._visited(Visit(work, task), (scope, receive, send))

    async def _visited(self, visit: Visit, asgi: tuple[Scope, Receive, Send]) -> None:
        scope, receive, send = asgi
        told = Told(send)
        self.gate.visits.add(visit)
        try:
            await self.app(scope, receive, told)
        except asyncio.CancelledError:
            if not visit.cut:
                raise
            visit.task.uncancel()
            message = "the server shut down before the answer was complete: ask again in a few seconds."
            await told.error(unavailable(message, ASK_AGAIN, closing=True))
        finally:
            self.gate.visits.discard(visit)
