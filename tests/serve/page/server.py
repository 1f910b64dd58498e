"""A server process for the page: like `tests/serve/process.py`, with an engine whose steps are real ensembles."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


def build(given: dict[str, Any]) -> Any:
    """Services over `Levels`; `pace` are its latencies."""
    from levels import Levels

    from heatbath.engine.mock import Pace
    from heatbath.serve.page import Feed
    from heatbath.serve.services import assemble
    from heatbath.serve.settings import Settings

    settings = Settings(**given["settings"])
    engine = Levels(Pace(**given.get("pace", {})))
    services = assemble(settings, engine=engine)
    engine.observers = [services.metrics.observer]
    if not any(isinstance(one, Feed) for one in services.watchers):
        feed = Feed(services.metrics.snapshot, content=settings.storage.content)
        services = replace(services, watchers=(*services.watchers, feed))
    return services


def main(given: dict[str, Any]) -> int:
    from heatbath.serve.run import serve

    return serve(build(given), lambda address: print(address, flush=True))


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
