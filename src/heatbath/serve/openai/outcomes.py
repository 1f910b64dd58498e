"""POST /v1/outcomes: whether an answer was right, for an answer that carried a confidence."""

from __future__ import annotations

import re

from starlette.responses import Response

from heatbath.serve.errors import ApiError
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.outcomes import Outcome, OutcomeRequest

_ID = re.compile(r"(?:chatcmpl-|cmpl-|resp_|msg_)([0-9a-f]{32})")


async def label_outcome(context: RequestContext) -> Response:
    """Store whether a choice of one of the tenant's own answers was right."""
    body = await context.read_body(OutcomeRequest)
    match, choice = _ID.fullmatch(body.id), body.index or 0
    store, tenant = context.services.store, context.tenant.name
    found = None
    if match is not None:
        found = await store.label_choice(match[1], tenant, choice, is_right=body.correct)
    if match is None or found is None:
        raise _not_found(
            f"there is no answer of yours with this id whose choice {choice} carried a confidence: it was never "
            "stored, is too old, or its confidence was not measured."
        )
    if found.is_withheld:
        raise _not_found(f"choice {choice} of this answer was withheld: nobody has seen whether it is right.")
    served = context.services.calibrator
    if served is not None and served.digest == found.calibrator:
        served.monitor.add_label(match[1], choice, found.value, is_right=body.correct)
    is_replaced = found.is_right is not None and found.is_right != body.correct
    return context.json_response(
        Outcome(id=body.id, index=choice, correct=body.correct, confidence=found.value, replaced=is_replaced)
    )


def _not_found(message: str) -> ApiError:
    return ApiError(404, message, code="not_found", param="id")
