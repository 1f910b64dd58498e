"""GET /v1/chat/completions/{id}: a stored completion."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from heatbath.serve.errors import ApiError
from heatbath.serve.interfaces import RequestOutcome
from heatbath.serve.openai.request_context import RequestContext

_PREFIX = "chatcmpl-"
_ENDPOINT = "/v1/chat/completions"


async def stored_completion(context: RequestContext) -> Response:
    """Return the completion of an id, if it is the tenant's own and its content was stored."""
    id = context.http.path_params["id"]
    outcome = await context.services.store.get(id.removeprefix(_PREFIX), context.tenant.name)
    if (
        outcome is None
        or not id.startswith(_PREFIX)
        or outcome.request.endpoint != _ENDPOINT
        or outcome.content is None
    ):
        message = "there is no stored answer of that id: it was never kept, or it is too old."
        raise ApiError(404, message, code="not_found", param="id")
    return context.json_response(_body(id, outcome, outcome.content))


def _body(id: str, outcome: RequestOutcome, content: Any) -> dict[str, Any]:
    prompt, completion = outcome.prompt_tokens, outcome.completion_tokens
    body = {
        "id": id,
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
