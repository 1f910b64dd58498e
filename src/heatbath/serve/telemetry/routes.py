"""`GET /metrics`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heatbath.serve.telemetry.metrics import Metrics


def routes() -> list[Route]:
    """What Prometheus scrapes; who may is for the server's own check of scopes."""
    return [Route("/metrics", _get_metrics, methods=["GET"])]


async def _get_metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.services.metrics
    body, kind = metrics.render_exposition(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": kind, "cache-control": "no-store"})
