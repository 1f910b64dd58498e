"""What the parts of a running server share, and how it is put together from the settings."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from heatbath.engine.base import Engine
from heatbath.serve.base import Store, Watcher
from heatbath.serve.gate import Gate
from heatbath.serve.keys import Keyring, keyring
from heatbath.serve.late import Late
from heatbath.serve.limits import Limits, limits_of
from heatbath.serve.logs import Log, logger
from heatbath.serve.names import Names, names_of
from heatbath.serve.settings import Settings

if TYPE_CHECKING:
    from heatbath.phases import PhaseMap
    from heatbath.serve.metrics import Metrics
    from heatbath.serve.metrics.otel.export import Tracing
    from heatbath.serve.storage import History, SqlStore

Around = Callable[[], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True)
class Services:
    """Handlers reach it by `request.app.state.services`.

    `phase_map` is the one of the settings, else the one that comes with the model once that is loaded. `history` keeps
    the minutes that `metrics` counts; `around` is entered before the engine starts and left, last
    first, when it has stopped.
    """

    settings: Settings
    engine: Engine
    store: Store
    names: Names
    watchers: Sequence[Watcher] = ()
    phase_map: PhaseMap | None = None
    metrics: Metrics | None = None
    history: History | None = None
    keys: Keyring = field(default_factory=lambda: Keyring({}))
    limits: Limits = field(default_factory=Limits)
    gate: Gate = field(default_factory=Gate)
    log: Log = field(default_factory=logger)
    around: Sequence[Around] = ()
    created: float = field(default_factory=time.time)


def assemble(settings: Settings, *, engine: Engine | None = None) -> Services:
    """All of it from the settings; `engine` in place of the one they describe, whose model loads when it starts.

    Raises:
        BadInput: settings that do not go together. MissingExtra: PostgreSQL or OpenTelemetry without their parts.
        Unusable: the database is damaged or of another version.
    """
    from heatbath.serve.metrics import build

    names, keys, limits = names_of(settings.model), keyring(settings.keys), limits_of(settings)
    metrics = build([names.model], names.aliases)
    traces = _traces(settings, names)
    phase_map = _phase_map(settings)
    kept = _open(settings)
    engine = engine or _local(settings, metrics)
    gate = Gate()
    feed = [_feed(settings, metrics, lambda: down(gate, engine, kept))] if settings.server.page else []
    return Services(
        settings,
        engine,
        metrics.watch(engine, kept),
        names,
        watchers=(metrics.meter, *feed, *(one.watcher for one in traces)),
        phase_map=phase_map,
        metrics=metrics,
        history=kept,
        keys=keys,
        limits=limits,
        gate=gate,
        log=logger(settings.server.log),
        around=(lambda: _closing(kept), lambda: metrics.running(kept), *(one.running for one in traces)),
    )


def down(gate: Gate, engine: Engine, store: Store) -> dict[str, str]:
    """What is not as it should be, each in one sentence, by part."""
    found = {"server": gate.trouble} if gate.draining else {"engine": gate.trouble or engine.trouble}
    return {part: trouble for part, trouble in {**found, "storage": store.trouble}.items() if trouble}


@asynccontextmanager
async def _closing(store: SqlStore) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await store.close()


def _open(settings: Settings) -> SqlStore:
    from heatbath.serve.storage import open_store

    kept = settings.storage
    return open_store(kept.url, days=kept.days, content=kept.content)


def _local(settings: Settings, metrics: Metrics) -> Engine:
    """The engine of the settings; its model loads when it starts."""
    engine, model = settings.engine, settings.model

    def make() -> Engine:
        from heatbath.engine.local import LocalEngine, Options
        from heatbath.models import load

        options = Options(
            engine.max_rows, engine.max_waiting, engine.prefix_cache_mb << 20, engine.deadline_seconds, engine.warm_up
        )
        loaded = load(model.name, dtype=model.dtype)
        return LocalEngine(loaded, observers=[metrics.observer], options=options)

    return Late(make)


def _phase_map(settings: Settings) -> PhaseMap | None:
    if settings.model.phase_map is None:
        return None
    from heatbath.phases import PhaseMap

    return PhaseMap.load(settings.model.phase_map)


def _feed(settings: Settings, metrics: Metrics, troubles: Callable[[], Mapping[str, str]]) -> Watcher:
    from heatbath.serve.page import Feed

    return Feed(
        metrics.snapshot, trouble=lambda: next(iter(troubles().values()), None), content=settings.storage.content
    )


def _traces(settings: Settings, names: Names) -> list[Tracing]:
    if not settings.otel.enabled:
        return []
    from heatbath.serve.metrics.otel import traces

    server = settings.server
    return [traces(settings.otel.endpoint, [names.model], names.aliases, address=server.host, port=server.port)]
