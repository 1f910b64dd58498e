"""Routes of the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from heatbath.serve.api.call import Call
from heatbath.serve.errors import as_api_error

Handler = Callable[[Call], Awaitable[Any]]


def route(path: str, handler: Handler, method: str = "POST") -> Route:
    """A route whose refusals are told to the watchers."""

    async def endpoint(request: Request) -> Any:
        call = Call(request, path)
        try:
            return await handler(call)
        except Exception as error:
            if not call.taken:
                code = as_api_error(error).code or "error"
                for watcher in call.services.observers:
                    watcher.on_rejection(path, code)
            raise

    return Route(path, endpoint, methods=[method], name=handler.__name__)
