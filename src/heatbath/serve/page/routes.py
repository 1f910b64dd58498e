"""The paths of the page."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from heatbath.serve.base import Answered, StoreDown
from heatbath.serve.errors import ApiError, later, unavailable
from heatbath.serve.page.feed import Feed, Full, Viewer, events
from heatbath.serve.page.files import SHELL, serve
from heatbath.serve.page.history import columns, distributions
from heatbath.serve.page.rows import row, whole
from heatbath.serve.page.state import state

SHOWN = 100
"""Requests in the list."""

LONGEST = 31 * 24.0
"""Hours of history that may be asked for."""


def routes() -> list[Route]:
    """The shell and its files, and what they read."""
    return [
        Route("/", _shell, methods=["GET"]),
        Route("/static/{path:path}", _file, methods=["GET"]),
        Route("/page/state", _state, methods=["GET"]),
        Route("/page/feed", _feed, methods=["GET"]),
        Route("/page/history", _history, methods=["GET"]),
        Route("/page/requests", _requests, methods=["GET"]),
        Route("/page/requests/{id}", _request, methods=["GET"]),
    ]


async def _shell(request: Request) -> Response:
    return serve(request, SHELL)


async def _file(request: Request) -> Response:
    return serve(request, request.path_params["path"])


async def _state(request: Request) -> Response:
    tenant = _reader(request)
    feed = _feed_of(request)
    if trouble := request.app.state.services.gate.trouble:
        raise unavailable(f"{trouble}: try again in a few seconds.")
    found = await asyncio.to_thread(state, request.app.state.services, feed)
    temperatures = [row(answered)["temperature"] for answered in reversed(await _answers(request, feed, tenant))]
    return _json({**found, "temperatures": [value for value in temperatures if value is not None]})


async def _feed(request: Request) -> Response:
    tenant = _reader(request)
    stack = ExitStack()
    try:
        viewer = stack.enter_context(_feed_of(request).watching(tenant))
    except Full:
        message = "as many pages are open as may be: close one, or try again later."
        raise ApiError(429, message, "rate_limit_error", "too_many_viewers", headers=later(10)) from None
    return StreamingResponse(_told(viewer, stack), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _told(viewer: Viewer, stack: ExitStack) -> AsyncIterator[bytes]:
    with stack:
        # So that a viewer knows at once that it is connected.
        yield b": hello\n\n"
        async for event in events(viewer):
            yield event


async def _history(request: Request) -> Response:
    _reader(request)
    services = request.app.state.services
    now = time.time()
    start = now - 3600 * _hours(request)
    stored = services.history is not None
    try:
        minutes = await services.history.history(start) if stored else []
    except StoreDown:
        minutes, stored = [], False
    if not minutes and services.metrics is not None:  # not stored yet, or not to be read now
        minutes = [minute for minute in services.metrics.book.minutes() if minute.start >= start]
    series = await asyncio.to_thread(columns, minutes, start, now)
    return _json({**series, "distributions": distributions(minutes), "stored": stored})


async def _requests(request: Request) -> Response:
    tenant = _reader(request)
    answers = await _answers(request, _feed_of(request), tenant)
    return _json({"requests": [row(answered) for answered in answers]})


async def _request(request: Request) -> Response:
    tenant, id = _reader(request), request.path_params["id"]
    found = _feed_of(request).answer(id, tenant)
    if found is None:
        found = await request.app.state.services.store.get(id, tenant)
    if found is None:
        raise ApiError(404, f"there is no stored answer {id[:100]!r}: it may have been too old.", code="not_found")
    return _json(whole(found))


async def _answers(request: Request, feed: Feed, tenant: str) -> list[Answered]:
    """The newest answers of a tenant, newest first: the stored ones, and those that are only in memory."""
    kept = feed.answers(tenant)[:SHOWN]
    try:
        stored = await request.app.state.services.store.recent(SHOWN, tenant)
    except StoreDown:
        stored = []
    known = {answered.ticket.id for answered in kept}
    rest = [answered for answered in stored if answered.ticket.id not in known]
    return sorted([*kept, *rest], key=lambda answered: -answered.ticket.created)[:SHOWN]


def _reader(request: Request) -> str:
    """The name of the tenant that asks, who may read.

    Raises:
        ApiError: 403, its key has not the scope.
    """
    tenant = request.state.tenant
    if tenant is None or "read" not in tenant.scopes:
        message = "this key does not have the scope 'read': use one that has it."
        raise ApiError(403, message, "permission_error", "missing_scope")
    return str(tenant.name)


def _feed_of(request: Request) -> Feed:
    return next(one for one in request.app.state.services.watchers if isinstance(one, Feed))


def _hours(request: Request) -> float:
    given = request.query_params.get("hours", "24")
    try:
        hours = float(given)
    except ValueError:
        hours = math.nan
    if not 0 < hours <= LONGEST:
        message = f"hours is {given[:50]!r}: give a number above 0, at most {LONGEST:g}."
        raise ApiError(400, message, code="invalid_value", param="hours")
    return hours


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
