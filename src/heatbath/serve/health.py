"""Health: whether the process is alive, and whether it can serve requests."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from heatbath.serve.services import Services, find_unavailable_parts


def routes() -> list[Route]:
    """Return the routes `/health/live`, `/health/ready`, and `/health` and `/ping`, which equal the latter."""
    return [
        Route("/health/live", liveness),
        Route("/health/ready", readiness),
        Route("/health", readiness),
        Route("/ping", readiness, methods=["GET", "POST"]),
    ]


async def liveness(request: Request) -> Response:
    """Respond with 200 while the event loop runs."""
    return JSONResponse({"live": True})


async def readiness(request: Request) -> Response:
    """Respond with 200 if requests can be served, else 503 with the parts that are down.

    With the scope "read" the response has the load of the engine too.
    """
    services: Services = request.app.state.services
    reasons = find_unavailable_parts(services.lifecycle, services.engine, services.store)
    if not services.settings.storage.required:
        reasons.pop("storage", None)
    body: dict[str, object] = {"ready": not reasons, "down": reasons}
    tenant = request.state.tenant
    if tenant is not None and "read" in tenant.scopes:
        body["load"] = asdict(services.engine.stats)
        body["storage"] = services.store.unavailable_reason or "ok"
        if services.policy is not None:
            body["policy"] = services.policy.problem or "ok"
    headers = {"retry-after": "5"} if reasons else {}
    return JSONResponse(body, 503 if reasons else 200, headers)
