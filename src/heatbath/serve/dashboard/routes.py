"""Routes of the page and of its data."""

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

from heatbath.serve.dashboard.bootstrap import build_state
from heatbath.serve.dashboard.feed import Feed, TooManyViewers, Viewer, stream_events
from heatbath.serve.dashboard.history import build_columns, merge_distributions
from heatbath.serve.dashboard.serializers import serialize_outcome, summarize_outcome, to_json_values
from heatbath.serve.dashboard.static_files import INDEX_FILE, REVIEW_FILE, serve_file
from heatbath.serve.errors import ApiError, retry_headers, unavailable_error
from heatbath.serve.http.asgi import read_query
from heatbath.serve.interfaces import RequestOutcome, StoreUnavailable

MAX_LISTED = 100
"""Most requests in the list."""

MAX_HISTORY_HOURS = 31 * 24.0
"""Most hours of history in one response."""


def routes() -> list[Route]:
    """Return the routes of the page, its files, and its data."""
    return [
        Route("/", _get_index, methods=["GET"]),
        Route("/review", _get_review_page, methods=["GET"]),
        Route("/static/{path:path}", _get_file, methods=["GET"]),
        Route("/page/state", _get_state, methods=["GET"]),
        Route("/page/feed", _stream_feed, methods=["GET"]),
        Route("/page/history", _get_history, methods=["GET"]),
        Route("/page/calibration", _get_calibration, methods=["GET"]),
        Route("/page/retrieval", _get_retrieval, methods=["GET"]),
        Route("/page/review", _get_review, methods=["GET"]),
        Route("/page/policy", _get_policy, methods=["GET"]),
        Route("/page/requests", _list_requests, methods=["GET"]),
        Route("/page/requests/{id}", _get_request, methods=["GET"]),
    ]


async def _get_index(request: Request) -> Response:
    return serve_file(request, INDEX_FILE)


async def _get_review_page(request: Request) -> Response:
    return serve_file(request, REVIEW_FILE)


async def _get_file(request: Request) -> Response:
    return serve_file(request, request.path_params["path"])


async def _get_state(request: Request) -> Response:
    tenant = _authorize_reader(request)
    feed = _find_feed(request)
    if reason := request.app.state.services.lifecycle.unavailable_reason:
        raise unavailable_error(f"{reason}: try again in a few seconds.")
    state = await asyncio.to_thread(build_state, request.app.state.services, feed)
    temperatures = [
        summarize_outcome(outcome)["temperature"]
        for outcome in reversed(await _collect_outcomes(request, feed, tenant))
    ]
    return _json_response({**state, "temperatures": [value for value in temperatures if value is not None]})


async def _stream_feed(request: Request) -> Response:
    tenant = _authorize_reader(request)
    stack = ExitStack()
    try:
        viewer = stack.enter_context(_find_feed(request).connect_viewer(tenant))
    except TooManyViewers:
        message = "as many pages are open as may be: close one, or try again later."
        raise ApiError(429, message, "rate_limit_error", "too_many_viewers", headers=retry_headers(10)) from None
    return StreamingResponse(
        _stream_viewer_events(viewer, stack), media_type="text/event-stream", headers={"x-accel-buffering": "no"}
    )


async def _stream_viewer_events(viewer: Viewer, stack: ExitStack) -> AsyncIterator[bytes]:
    with stack:
        # Lets the page know at once that it is connected.
        yield b": hello\n\n"
        async for event in stream_events(viewer):
            yield event


async def _get_history(request: Request) -> Response:
    _authorize_reader(request)
    services = request.app.state.services
    now = time.time()
    start = now - 3600 * _parse_hours(request)
    stored = services.minute_store is not None
    try:
        minutes = await services.minute_store.read_minutes(start) if stored else []
    except StoreUnavailable:
        minutes, stored = [], False
    if not minutes and services.metrics is not None:  # not stored yet, or storage is unavailable
        minutes = [minute for minute in services.metrics.minute_history.minutes() if minute.start >= start]
    series = await asyncio.to_thread(build_columns, minutes, start, now)
    return _json_response({**series, "distributions": merge_distributions(minutes), "stored": stored})


async def _get_calibration(request: Request) -> Response:
    _authorize_reader(request)
    served = request.app.state.services.calibrator
    if served is None:
        raise ApiError(404, "this server has no calibrator: set trust.calibrator.", code="not_found")
    return _json_response(to_json_values(served.describe()))


async def _get_retrieval(request: Request) -> Response:
    tenant = _authorize_reader(request)
    indexes = request.app.state.services.indexes
    if indexes is None:
        raise ApiError(404, "this server has no indexes: set retrieval.indexes.", code="not_found")
    return _json_response(to_json_values(indexes.describe(tenant)))


async def _get_review(request: Request) -> Response:
    _authorize_reader(request)
    queue = request.app.state.services.review
    if queue is None:
        raise ApiError(404, "this server has no review queue: set review.enabled.", code="not_found")
    return _json_response(await queue.summarize())


async def _get_policy(request: Request) -> Response:
    _authorize_reader(request)
    served = request.app.state.services.policy
    if served is None:
        raise ApiError(404, "this server has no policy: set policy.file.", code="not_found")
    return _json_response(to_json_values(served.describe()))


async def _list_requests(request: Request) -> Response:
    tenant = _authorize_reader(request)
    outcomes = await _collect_outcomes(request, _find_feed(request), tenant)
    return _json_response({"requests": [summarize_outcome(outcome) for outcome in outcomes]})


async def _get_request(request: Request) -> Response:
    tenant, id = _authorize_reader(request), request.path_params["id"]
    outcome = _find_feed(request).find_outcome(id, tenant)
    if outcome is None:
        outcome = await request.app.state.services.store.get(id, tenant)
    if outcome is None:
        raise ApiError(404, f"there is no stored answer {id[:100]!r}: it may have been too old.", code="not_found")
    return _json_response(serialize_outcome(outcome))


async def _collect_outcomes(request: Request, feed: Feed, tenant: str) -> list[RequestOutcome]:
    """Return the newest outcomes of a tenant, newest first: stored ones, and those that are only in memory."""
    in_memory = feed.list_outcomes(tenant)[:MAX_LISTED]
    try:
        stored = await request.app.state.services.store.list_recent(MAX_LISTED, tenant)
    except StoreUnavailable:
        stored = []
    known_ids = {outcome.request.id for outcome in in_memory}
    rest = [outcome for outcome in stored if outcome.request.id not in known_ids]
    return sorted([*in_memory, *rest], key=lambda outcome: -outcome.request.created_at)[:MAX_LISTED]


def _authorize_reader(request: Request) -> str:
    """Return the name of the tenant that sends the request.

    Raises:
        ApiError: 403, its key does not have the scope "read".
    """
    tenant = request.state.tenant
    if tenant is None or "read" not in tenant.scopes:
        message = "this key does not have the scope 'read': use one that has it."
        raise ApiError(403, message, "permission_error", "missing_scope")
    return str(tenant.name)


def _find_feed(request: Request) -> Feed:
    return next(one for one in request.app.state.services.observers if isinstance(one, Feed))


def _parse_hours(request: Request) -> float:
    value = read_query(request.query_params).get("hours", "24")
    try:
        hours = float(value)
    except ValueError:
        hours = math.nan
    if not 0 < hours <= MAX_HISTORY_HOURS:
        message = f"hours is {value[:50]!r}: give a number above 0, at most {MAX_HISTORY_HOURS:g}."
        raise ApiError(400, message, code="invalid_value", param="hours")
    return hours


def _json_response(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
