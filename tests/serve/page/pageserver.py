"""A server process for the page: like `tests/serve/process.py`, with an engine whose steps are real ensembles."""

from __future__ import annotations

from typing import Any


def build(given: dict[str, Any]) -> Any:
    """Services over `Levels`, whose latencies are `pace`."""
    from levels import Levels

    from heatbath.engine.mock import MockLatency
    from heatbath.serve.services import build_services
    from heatbath.serve.settings import Settings

    engine = Levels(MockLatency(**given.get("pace", {})))
    services = build_services(Settings(**given["settings"]), engine=engine)
    engine.observers = [services.metrics.observer]
    return services


def main(given: dict[str, Any]) -> int:
    from heatbath.serve.server import serve

    return serve(build(given), lambda address: print(address, flush=True))
