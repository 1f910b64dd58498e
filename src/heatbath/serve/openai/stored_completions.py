"""Stored chat completions: list, read, change the metadata, delete; each tenant has its own."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.interfaces import AnswerQuery, RequestOutcome
from heatbath.serve.openai.pagination import list_body, read_metadata_filter, read_page, select_page
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.stored_completions import DeletedCompletion, MetadataUpdate

_PREFIX = "chatcmpl-"
_ENDPOINT = "/v1/chat/completions"


async def list_completions(context: RequestContext) -> Response:
    """Return the tenant's own completions whose content is stored, a page at a time."""
    query, store, tenant = context.query, context.services.store, context.tenant.name
    page, model = read_page(query, order="asc"), query.get("model")
    if model is not None:
        model = context.services.model_names.aliases.get(model, model)
    after = None if page.after is None else page.after.removeprefix(_PREFIX)
    if after is not None and await store.get(after, tenant) is None:
        raise invalid_value("after names no stored answer of yours: give the id of one.", "after")
    wanted = AnswerQuery(tenant, _ENDPOINT, page.limit + 1, after, page.ascending, model, read_metadata_filter(query))
    found = [_body(outcome, outcome.content) for outcome in await store.list_answers(wanted)]
    return context.json_response(list_body(found[: page.limit], has_more=len(found) > page.limit))


async def stored_completion(context: RequestContext) -> Response:
    """Return the completion of an id, if it is the tenant's own and its content was stored."""
    outcome = await _find_completion(context)
    return context.json_response(_body(outcome, outcome.content))


async def update_completion(context: RequestContext) -> Response:
    """Replace the metadata of a stored completion."""
    body = await context.read_body(MetadataUpdate)
    outcome = await _find_completion(context)
    if not await context.services.store.update_metadata(outcome.request.id, context.tenant.name, body.metadata or {}):
        raise _not_found()
    content = {**(outcome.content or {}), "metadata": body.metadata}
    return context.json_response(_body(outcome, content))


async def delete_completion(context: RequestContext) -> Response:
    """Delete what is stored of a completion; its figures stay, as of one that was not to be stored."""
    outcome = await _find_completion(context)
    if not await context.services.store.delete_content(outcome.request.id, context.tenant.name):
        raise _not_found()
    return context.json_response(DeletedCompletion(id=_PREFIX + outcome.request.id))


async def stored_messages(context: RequestContext) -> Response:
    """Return the messages that a stored completion responds to."""
    page = read_page(context.query, order="asc")
    outcome = await _find_completion(context)
    messages = [
        {**message, "id": f"{_PREFIX}{outcome.request.id}-{i}"}
        for i, message in enumerate((outcome.content or {})["messages"])
    ]
    return context.json_response(select_page(messages, page))


async def _find_completion(context: RequestContext) -> RequestOutcome:
    id = context.http.path_params["id"]
    outcome = await context.services.store.get(id.removeprefix(_PREFIX), context.tenant.name)
    if (
        outcome is None
        or not id.startswith(_PREFIX)
        or outcome.request.endpoint != _ENDPOINT
        or outcome.content is None
    ):
        raise _not_found()
    return outcome


def _not_found() -> ApiError:
    message = "there is no stored answer of that id: it was never kept, has been deleted, or is too old."
    return ApiError(404, message, code="not_found", param="id")


def _body(outcome: RequestOutcome, content: Any) -> dict[str, Any]:
    prompt, completion = outcome.prompt_tokens, outcome.completion_tokens
    body = {
        "id": _PREFIX + outcome.request.id,
        "object": "chat.completion",
        "created": int(outcome.request.created_at),
        "model": outcome.request.model,
        "choices": content["choices"],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": outcome.cached_tokens},
        },
        "system_fingerprint": content["system_fingerprint"],
    }
    metadata = content.get("metadata")
    return {**body, "metadata": metadata} if metadata else body
