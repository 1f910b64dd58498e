"""The ASGI application: the rooms' routes behind the middleware."""

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

from heatbath.models import catalog
from heatbath.serve.middleware.access import Admitted
from heatbath.serve.middleware.bodies import Bounded, Discarding
from heatbath.serve.middleware.drain import Drained
from heatbath.serve.middleware.failures import Answering
from heatbath.serve.middleware.hosts import Hosted
from heatbath.serve.middleware.ids import Identified
from heatbath.serve.middleware.security import Secured
from heatbath.serve.services import Services
from heatbath.serve.settings import Settings

if TYPE_CHECKING:
    from heatbath.phases import PhaseMap


def application(services: Services, more: Sequence[BaseRoute] = ()) -> Starlette:
    """The application over `services`, with `more` routes before its own. Its lifespan starts the engine."""
    app = Starlette(
        routes=[*more, *routes(services.settings)],
        middleware=layers(services),
        exception_handlers={HTTPException: _pass_on},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would repeat whatever name the request called us by
    app.state.services = services
    return app


def routes(settings: Settings) -> list[BaseRoute]:
    """The routes of all rooms that are switched on."""
    rooms = {"health": True, "api": True, "metrics": settings.metrics.enabled, "page": settings.server.page}
    found: list[BaseRoute] = []
    for room, wanted in rooms.items():
        if wanted:
            found += import_module(f"heatbath.serve.{room}").routes()
    return found


def layers(services: Services) -> list[Middleware]:
    """The middleware, outermost first."""
    server = services.settings.server
    return [
        Middleware(Identified, log=services.log),
        *_traced(services.settings),
        Middleware(Discarding),
        Middleware(Secured),
        Middleware(Answering, log=services.log),
        Middleware(Hosted, hosts=server.hosts, open_=not services.keys.tenants),
        Middleware(Admitted, keys=services.keys),
        Middleware(Drained, gate=services.gate),
        Middleware(Bounded, most=server.max_body, seconds=server.read_timeout),
    ]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """The engine starts while the port is open already; at the end it is drained and what was opened is closed."""
    services: Services = app.state.services
    async with AsyncExitStack() as stack:
        for around in services.around:
            await stack.enter_async_context(around())
        starting = asyncio.create_task(_start(app))
        try:
            yield
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            await services.engine.drain(0)


async def _start(app: Starlette) -> None:
    services: Services = app.state.services
    try:
        await services.engine.start()
        if services.phase_map is None:
            app.state.services = replace(services, phase_map=await _known_map(services))
    except Exception as error:
        services.gate.fail(error)
    else:
        services.gate.open()


async def _known_map(services: Services) -> PhaseMap | None:
    """The phase map that comes with the model, if there is one."""
    name = services.settings.model.name
    if name not in catalog.CATALOG:
        return None
    from heatbath.phases.known import known_map

    return await asyncio.to_thread(known_map, name, services.engine.language.fingerprint)


def _traced(settings: Settings) -> list[Middleware]:
    if not settings.otel.enabled:
        return []
    from heatbath.serve.metrics.otel.context import Traced

    return [Middleware(Traced)]


async def _pass_on(request: Request, error: Exception) -> Response:
    raise error
