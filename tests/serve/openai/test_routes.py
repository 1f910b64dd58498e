"""Routes, their description and their labels: three lists that must agree."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route, WebSocketRoute

from heatbath.serve import health
from heatbath.serve.openai import openapi, routes
from heatbath.serve.settings import LimitSettings
from heatbath.serve.telemetry.labels import ENDPOINTS, OTHER, Labels


def paths(*more: Route) -> set[str]:
    """Return the paths of the API, and of `more` routes, without their converters."""
    found: list[Any] = [*routes(), *more]
    assert all(isinstance(route, Route) for route in found if not isinstance(route, WebSocketRoute))
    return {route.path.replace(":path}", "}") for route in found}


def test_every_route_has_a_label_and_no_label_lacks_a_route() -> None:
    assert paths() == ENDPOINTS
    labels = Labels(("m",))
    assert {labels.endpoint(route.path) for route in routes() if isinstance(route, Route)} == ENDPOINTS
    assert labels.endpoint("/v1/unknown") == OTHER


def test_every_route_is_described() -> None:
    description = openapi.build_description(257, LimitSettings())
    assert {*description["paths"], "/openapi.json"} == paths(*health.routes())
    names = [operation["operationId"] for path in description["paths"].values() for operation in path.values()]
    assert len(set(names)) == len(names)


def test_every_method_of_a_route_is_described() -> None:
    described = openapi.build_description(257, LimitSettings())["paths"]
    for route in [*routes(), *health.routes()]:
        if isinstance(route, WebSocketRoute):
            continue
        assert isinstance(route, Route)
        path = route.path.replace(":path}", "}")
        if path != "/openapi.json":
            assert {method.lower() for method in route.methods or ()} - {"head"} == set(described[path]), path
