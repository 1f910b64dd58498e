"""A server to measure, as a process of its own: `python -m heatbath.bench.serve_child '{"settings": {...}, ...}'`.

Its options: `pace` replaces the real engine by one without a model, `watched: false` leaves out all metrics, and
`parts` (name: paths of functions) writes the time of every call of these functions to a file.
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from heatbath.engine.base import Engine
from heatbath.engine.mock import MockEngine, MockLatency
from heatbath.serve.lazy_engine import LazyEngine
from heatbath.serve.server import serve
from heatbath.serve.services import Services, build_services
from heatbath.serve.settings import Settings


def main(spec: Mapping[str, Any]) -> int:
    """Serve until a signal comes; then write the seconds of each part's calls to the file `parts_to`."""
    services = _build_services(spec)
    taken = time_calls(spec.get("parts", {}))
    code = serve(services, lambda address: print(address, flush=True))
    if taken:
        Path(spec["parts_to"]).write_text(json.dumps(taken), encoding="utf-8")
    return code


def _build_services(spec: Mapping[str, Any]) -> Services:
    settings = Settings(**spec["settings"])
    if "pace" in spec:
        return build_services(settings, engine=MockEngine(MockLatency(**spec["pace"])))
    if spec.get("watched", True):
        return build_services(settings)
    services = build_services(settings, engine=LazyEngine(lambda: _build_unobserved_engine(settings)))
    store = getattr(services.store, "store", services.store)
    return replace(services, store=store, observers=())


def _build_unobserved_engine(settings: Settings) -> Engine:
    """Return the engine of the settings without observers."""
    from heatbath.engine.local import EngineConfig, LocalEngine
    from heatbath.models import load

    engine, model = settings.engine, settings.model
    options = EngineConfig(engine.max_rows, engine.max_waiting, engine.prefix_cache_mb << 20, engine.deadline_seconds)
    return LocalEngine(load(model.name, dtype=model.dtype), config=options)


def time_calls(parts: Mapping[str, Sequence[str]]) -> dict[str, list[float]]:
    """Time functions ("module:name" or "module:Class.name") wherever the server refers to them.

    Return the lists to which each part's calls add their seconds. For a coroutine this is the time until it is done.
    """
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for name, places in parts.items():
        for place in places:
            module, _, path = place.partition(":")
            _wrap_function(import_module(module), path, taken[name])
    return taken


def _wrap_function(holder: Any, path: str, durations: list[float]) -> None:
    *outer, last = path.split(".")
    for name in outer:
        holder = getattr(holder, name)
    function = getattr(holder, last)
    clocked = _time_function(function, durations)
    setattr(holder, last, clocked)
    for name, module in list(sys.modules.items()):
        if name.startswith("heatbath.serve") and module.__dict__.get(last) is function:
            setattr(module, last, clocked)


def _time_function(function: Callable[..., Any], durations: list[float]) -> Callable[..., Any]:
    clock = time.perf_counter
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def later(*arguments: Any, **named: Any) -> Any:
            start = clock()
            try:
                return await function(*arguments, **named)
            finally:
                durations.append(clock() - start)

        return later

    @functools.wraps(function)
    def now(*arguments: Any, **named: Any) -> Any:
        start = clock()
        try:
            return function(*arguments, **named)
        finally:
            durations.append(clock() - start)

    return now


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
