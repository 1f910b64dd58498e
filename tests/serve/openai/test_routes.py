"""Routes, their description and their labels: three lists that must agree."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from heatbath.serve.openai import openapi, routes
from heatbath.serve.settings import LimitSettings
from heatbath.serve.telemetry.labels import ENDPOINTS, OTHER, Labels


def paths() -> set[str]:
    """Return the paths of the API without their converters."""
    found: list[Any] = list(routes())
    assert all(isinstance(route, Route) for route in found)
    return {route.path.replace(":path}", "}") for route in found}


def test_every_route_has_a_label_and_no_label_lacks_a_route() -> None:
    assert paths() == ENDPOINTS
    labels = Labels(("m",))
    assert {labels.endpoint(route.path) for route in routes() if isinstance(route, Route)} == ENDPOINTS
    assert labels.endpoint("/v1/unknown") == OTHER


def test_every_route_is_described() -> None:
    assert {*openapi._POSTS, *openapi._CANCELS, *openapi._GETS, "/openapi.json"} == paths()


def test_every_method_of_a_route_is_described() -> None:
    described = openapi.build_description(257, LimitSettings())["paths"]
    for route in routes():
        assert isinstance(route, Route)
        path = route.path.replace(":path}", "}")
        if path != "/openapi.json":
            assert {method.lower() for method in route.methods or ()} - {"head"} == set(described[path]), path
