"""A server process for the page: like `tests/serve/process.py`, with an engine whose steps are real ensembles."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


def build(given: dict[str, Any]) -> Any:
    """Services over `Levels`, whose latencies are `pace`; over the settings' own engine where `real` is true."""
    from levels import Levels

    from heatbath.engine.mock import MockLatency
    from heatbath.serve.services import build_services
    from heatbath.serve.settings import Settings

    settings = Settings(**given["settings"])
    if given.get("real"):
        services = build_services(settings)
    else:
        engine = Levels(MockLatency(**given.get("pace", {})))
        services = build_services(settings, engine=engine)
        engine.observers = [services.metrics.observer]
    return services


def main(given: dict[str, Any]) -> int:
    from heatbath.serve.server import serve

    return serve(build(given), lambda address: print(address, flush=True))


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
