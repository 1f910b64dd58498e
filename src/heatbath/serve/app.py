"""The ASGI application: the routes of the server's packages behind the middleware."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from heatbath.models.hub import catalog
from heatbath.serve.http.middleware import RequestMiddleware
from heatbath.serve.services import Services
from heatbath.serve.settings import Settings

if TYPE_CHECKING:
    from heatbath.phases import PhaseMap


def build_app(services: Services, extra_routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application over `services`, with `extra_routes` before its own. Its lifespan starts the engine."""
    app = Starlette(
        routes=[*extra_routes, *routes(services.settings)],
        middleware=build_middleware(services),
        exception_handlers={HTTPException: _reraise},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would repeat the host name of the request
    app.state.services = services
    return app


def routes(settings: Settings) -> list[BaseRoute]:
    """Return the routes of all packages that are enabled."""
    metrics, page = settings.metrics.enabled, settings.server.page
    packages = {"health": True, "openai": True, "telemetry": metrics, "dashboard": page}
    collected: list[BaseRoute] = []
    for package, enabled in packages.items():
        if enabled:
            collected += import_module(f"heatbath.serve.{package}").routes()
    return collected


def build_middleware(services: Services) -> list[Middleware]:
    """Return the middleware, outermost first."""
    return [Middleware(RequestMiddleware, services=services), *_build_tracing_middleware(services.settings)]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Start the engine while the port is already open; at the end drain it and close what was opened."""
    services: Services = app.state.services
    async with AsyncExitStack() as stack:
        for around in services.lifespans:
            await stack.enter_async_context(around())
        starting = asyncio.create_task(_start_engine(app))
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await services.engine.drain(0)


async def _start_engine(app: Starlette) -> None:
    services: Services = app.state.services
    try:
        await services.engine.start()
        if services.calibrator is not None:
            services.calibrator.validate_model(services.engine.model_info)
            await services.calibrator.restore(services.store)
        if services.indexes is not None:
            services.indexes.validate_model(services.engine.model_info)
        if services.phase_map is None:
            app.state.services = replace(services, phase_map=await _load_bundled_map(services))
    except Exception as error:
        services.lifecycle.fail(error)
    else:
        services.lifecycle.open()


async def _load_bundled_map(services: Services) -> PhaseMap | None:
    """Return the phase map that comes with the model, if there is one."""
    name = services.settings.model.name
    if name not in catalog.CATALOG:
        return None
    from heatbath.phases.phase_map import load_bundled_map

    return await asyncio.to_thread(load_bundled_map, name, services.engine.model_info.fingerprint)


def _build_tracing_middleware(settings: Settings) -> list[Middleware]:
    if not settings.otel.enabled:
        return []
    from heatbath.serve.telemetry.otel.spans import TraceContextMiddleware

    return [Middleware(TraceContextMiddleware)]


async def _reraise(request: Request, error: Exception) -> Response:
    raise error
