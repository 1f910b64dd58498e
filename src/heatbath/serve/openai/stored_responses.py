"""Stored responses: read, delete, their input items, and what a request continues from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.interfaces import RequestOutcome
from heatbath.serve.openai.pagination import read_page, select_page
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.response_items import Item, find_in, response_hex
from heatbath.serve.openai.schema.response_objects import DeletedResponse

_PREFIX = "resp_"
_ENDPOINT = "/v1/responses"

LATEST_RESPONSE = "latest_response"
"""Name in the state of a request of what its WebSocket keeps: the content of its latest response, by its id."""


async def stored_response(context: RequestContext) -> Response:
    """Return a response, if it is the tenant's own and was stored."""
    if context.query.get("stream") == "true":
        message = "stream replays responses that run in the background, and none do here: leave it out."
        raise ApiError(400, message, code="unsupported_parameter", param="stream")
    _, content = await _find_path_response(context)
    return context.json_response(content["response"])


async def delete_response(context: RequestContext) -> Response:
    """Delete what is stored of a response."""
    outcome, content = await _find_path_response(context)
    if not await context.services.store.delete_content(outcome.request.id, context.tenant.name):
        raise _not_found()
    return context.json_response(DeletedResponse(id=content["response"]["id"]))


async def cancel_response(context: RequestContext) -> Response:
    """Refuse to cancel a response: what is stored has ended."""
    await _find_path_response(context)
    message = "this response has ended, and only those that run in the background can be cancelled: close the stream."
    raise invalid_value(message, "id", "unsupported_value")


async def input_items(context: RequestContext) -> Response:
    """Return the items that a response was generated from, those of the responses before it too."""
    page = read_page(context.query, order="desc")
    _, content = await _find_path_response(context)
    return context.json_response(select_page(content["items"], page))


async def load_context(context: RequestContext, previous_id: str | None) -> list[Item]:
    """Return the items of the response to continue from, its output last.

    Raises:
        ApiError: 400, the tenant has stored none of that id.
        StoreUnavailable: the database cannot be read.
    """
    if previous_id is None:
        return []
    found = await _find_content(context, previous_id)
    if found is None:
        message = (
            "previous_response_id names no stored response of yours: it was not stored, or has been deleted or has "
            "expired. Send the whole conversation as input."
        )
        raise invalid_value(message, "previous_response_id", "previous_response_not_found")
    items: list[Item] = [*found["items"], *found["response"]["output"]]
    return items


async def find_stored_item(context: RequestContext, id: str) -> Item | None:
    """Return the stored item of an id, found by the response that it belongs to."""
    owner = response_hex(id)
    found = None if owner is None else await _find_content(context, _PREFIX + owner)
    return None if found is None else find_in([*found["items"], *found["response"]["output"]], id)


def keep_for_connection(context: RequestContext, id: str, content: Mapping[str, Any]) -> None:
    """Keep a response for the next request of its WebSocket, stored or not; over HTTP, nothing is kept."""
    latest: dict[str, Mapping[str, Any]] | None = context.http.scope["state"].get(LATEST_RESPONSE)
    if latest is not None:
        latest.clear()
        latest[id] = content


async def _find_content(context: RequestContext, id: str) -> Mapping[str, Any] | None:
    """Return the content of the connection's latest response, or of the tenant's own stored one."""
    latest: Mapping[str, Mapping[str, Any]] = context.http.scope["state"].get(LATEST_RESPONSE, {})
    if id in latest:
        return latest[id]
    found = await _find_response(context, id)
    return None if found is None else found[1]


async def _find_response(context: RequestContext, id: str) -> tuple[RequestOutcome, Any] | None:
    """Return the tenant's own stored response, and its content."""
    if not id.startswith(_PREFIX):
        return None
    outcome = await context.services.store.get(id.removeprefix(_PREFIX), context.tenant.name)
    if outcome is None or outcome.request.endpoint != _ENDPOINT or outcome.content is None:
        return None
    return outcome, outcome.content


async def _find_path_response(context: RequestContext) -> tuple[RequestOutcome, Any]:
    found = await _find_response(context, context.http.path_params["id"])
    if found is None:
        raise _not_found()
    return found


def _not_found() -> ApiError:
    message = "there is no stored response of that id: it was not stored, or has been deleted or has expired."
    return ApiError(404, message, code="not_found", param="id")
