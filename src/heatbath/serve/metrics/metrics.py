"""All of it together: what the server hands requests and steps to, and what it is asked."""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from heatbath.engine.base import Engine
from heatbath.record import Observer
from heatbath.record.about import package_version
from heatbath.serve.base import Store
from heatbath.serve.metrics.book import MinuteBook
from heatbath.serve.metrics.ensembles import EnsembleCollector, Ensembles
from heatbath.serve.metrics.instruments import Instruments, instruments
from heatbath.serve.metrics.labels import Labels
from heatbath.serve.metrics.live import Live
from heatbath.serve.metrics.loop import beside, lag, last_flush, minutes, seconds
from heatbath.serve.metrics.meter import Meter
from heatbath.serve.metrics.totals import Totals
from heatbath.serve.metrics.watched import CountedStore, Watched
from heatbath.serve.storage.minutes import History

_OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True)
class Metrics:
    """What `build` gives. `meter` is a `Watcher`, `observer` belongs to the engine, `book` holds the minutes."""

    registry: CollectorRegistry
    meter: Meter
    observer: Observer
    book: MinuteBook
    live: Live
    to: Instruments
    watched: Watched

    def watch(self, engine: Engine, store: Store) -> Store:
        """Show the gauges of `engine` and `store` from now on. Returns the store to use: one that counts."""
        self.watched.engine, self.watched.store = engine, store
        return CountedStore(store, self.to)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Everything for Prometheus, and its content type: OpenMetrics where `accept` asks for it."""
        if _OPENMETRICS in accept.lower():
            text: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def snapshot(self) -> dict[str, Any]:
        """What is going on now, ready for JSON: requests in flight, the engine's `load`, and what `Live.read` gives."""
        load = self.watched.load
        return {"in_flight": self.meter.in_flight, "load": asdict(load) if load else None, **self.live.read()}

    @asynccontextmanager
    async def running(self, history: History | None = None) -> AsyncIterator[None]:
        """While the server is up: measure the event loop's lag, keep time, and store the minutes in `history`."""
        writing = [minutes(self.book, history)] if history is not None else []
        async with beside(lag(self.to.lag), seconds(self.live.tick, self.book.tick), *writing):
            yield
        if history is not None:
            await last_flush(self.book, history)


def build(models: Sequence[str], aliases: Mapping[str, str] | None = None) -> Metrics:
    """Metrics with a registry of their own. The first of `models` is the engine's, the others may be labels too;
    `aliases` count as the model they stand for, any other name as "other"."""
    registry = CollectorRegistry(auto_describe=True)
    labels = Labels(tuple(models), dict(aliases or {}))
    made, watched, ensembles = instruments(registry), Watched(), Ensembles()
    made.build.info({"version": package_version(), "python": platform.python_version()})
    registry.register(EnsembleCollector(ensembles, labels.own))
    registry.register(watched)
    totals = Totals(labels, ensembles)
    meter = Meter(labels, made, totals)
    return Metrics(registry, meter, ensembles, MinuteBook(totals), Live(totals), made, watched)
