"""`GET /metrics`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heatbath.serve.metrics.metrics import Metrics


def routes() -> list[Route]:
    """What Prometheus scrapes; who may is for the server's own check of scopes."""
    return [Route("/metrics", _metrics, methods=["GET"])]


async def _metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.services.metrics
    body, kind = metrics.exposition(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": kind, "cache-control": "no-store"})
