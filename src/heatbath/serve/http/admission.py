"""Lets requests in only while the gate is open, and tells those cut short at the end that they were."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from heatbath.serve.api_keys import HEALTH_PATHS, required_scope
from heatbath.serve.errors import unavailable_error
from heatbath.serve.http.asgi import ResponseTracker
from heatbath.serve.lifecycle import ActiveRequest, Lifecycle

RETRY_SECONDS = 5.0
"""Seconds until a client may ask again."""


@dataclass(frozen=True)
class AdmissionMiddleware:
    """Health is told at any time; what needs no model, while it is being loaded too."""

    app: ASGIApp
    lifecycle: Lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            return await self.app(scope, receive, send)
        work = required_scope(scope["method"], scope["path"]) == "infer"
        trouble = self.lifecycle.unavailable_reason
        if trouble is not None and (work or self.lifecycle.is_draining):
            raise unavailable_error(
                f"{trouble}: try again in a few seconds.", RETRY_SECONDS, close_connection=self.lifecycle.is_draining
            )
        task = asyncio.current_task()
        assert task is not None
        await self._run_request(ActiveRequest(work, task), (scope, receive, send))

    async def _run_request(self, active: ActiveRequest, asgi: tuple[Scope, Receive, Send]) -> None:
        scope, receive, send = asgi
        told = ResponseTracker(send)
        self.lifecycle.active_requests.add(active)
        try:
            await self.app(scope, receive, told)
        except asyncio.CancelledError:
            if not active.is_cancelled:
                raise
            active.task.uncancel()
            message = "the server shut down before the answer was complete: ask again in a few seconds."
            await told.report_error(unavailable_error(message, RETRY_SECONDS, close_connection=True))
        finally:
            self.lifecycle.active_requests.discard(active)
