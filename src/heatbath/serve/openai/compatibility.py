"""Routes that clients probe for: GET /version, and POST /v1/moderations, which is not served."""

from __future__ import annotations

from starlette.responses import Response

import heatbath
from heatbath.serve.errors import ApiError
from heatbath.serve.openai.request_context import RequestContext
from heatbath.serve.openai.schema.models import Version


async def version(context: RequestContext) -> Response:
    """Return the version of the server."""
    return context.json_response(Version(heatbath.__version__))


async def moderations(context: RequestContext) -> Response:
    """Refuse: without a policy, no text has been judged, and a response that flags nothing would say it had.

    Raises:
        ApiError: 404, which no client tries again.
    """
    message = "this server moderates nothing: it has no policy to judge texts by, so call another service for that."
    raise ApiError(404, message, code="not_found")
