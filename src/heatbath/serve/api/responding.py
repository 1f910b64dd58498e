"""A response in one piece or as a stream, given up when the client goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.responses import Response

from heatbath.serve.api.call import Call
from heatbath.serve.api.exchange import Exchange
from heatbath.serve.api.reading import ignored
from heatbath.serve.api.sse import Events, Work, unless_gone


async def respond(
    call: Call, exchange: Exchange, stream: Work | None, whole: Callable[[], Coroutine[Any, Any, Response]]
) -> Response | Events:
    """What `whole` gives, or events that `stream` says if there is one; either ends the exchange as it ends."""
    if stream is None:
        task = asyncio.create_task(whole())
        exchange.follow(task)
        return await unless_gone(call.request, task)
    seconds = call.services.settings.server.keep_alive_seconds
    events = Events(stream, seconds)
    exchange.follow(events.task)
    await events.opened(call.request.receive, seconds)
    events.headers |= {**ignored(call.unknown), "x-heatbath-overhead-ms": f"{exchange.overhead * 1000:.3f}"}
    return events
