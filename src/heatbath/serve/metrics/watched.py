"""Gauges read when somebody asks: how busy the engine is, and whether the storage can be written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from heatbath.engine.base import Engine, Load
from heatbath.serve.base import Answered, Store
from heatbath.serve.metrics.instruments import Instruments


@dataclass(eq=False)
class Watched(Collector):
    """The engine and store of this server once they are there; before that it shows nothing."""

    engine: Engine | None = None
    store: Store | None = None

    @property
    def load(self) -> Load | None:
        """How busy the engine is, None without one."""
        return None if self.engine is None else self.engine.load

    def describe(self) -> list[Metric]:
        return [*_engine(Load()), _up("engine", True), _up("store", True)]

    def collect(self) -> Iterator[Metric]:
        if self.engine is not None:
            yield from _engine(self.engine.load)
            yield _up("engine", self.engine.trouble is None)
        if self.store is not None:
            yield _up("store", self.store.trouble is None)


def _engine(load: Load) -> Iterator[Metric]:
    yield _gauge("engine_running_requests", "Requests in the engine's batch.", load.running)
    yield _gauge("engine_waiting_requests", "Requests in the engine's queue.", load.waiting)
    yield _gauge("engine_batch_rows", "Rows of the engine's batch; one request may have many.", load.rows)
    yield _gauge("prefix_cache_bytes", "Memory that the prefix cache holds.", load.prefix_bytes)
    yield _counter("prefix_asked_tokens", "Prompt tokens looked for in the prefix cache.", load.prefix_asked)
    yield _counter("prefix_hit_tokens", "Prompt tokens found in the prefix cache.", load.prefix_hit)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"heatbath_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"heatbath_{name}", text, value=value)


def _up(what: str, well: bool) -> Metric:
    return _gauge(f"{what}_up", f"1 if the {what} takes work, 0 if not.", float(well))


class CountedStore:
    """A `Store` that counts what it keeps."""

    def __init__(self, store: Store, instruments: Instruments) -> None:
        self._store = store
        self._to = instruments

    @property
    def trouble(self) -> str | None:
        return self._store.trouble

    async def keep(self, answered: Answered) -> None:
        began = perf_counter()
        try:
            await self._store.keep(answered)
        except BaseException:
            self._to.unstored.inc()
            raise
        self._to.stored.inc()
        self._to.store_duration.observe(perf_counter() - began)

    async def get(self, id: str, tenant: str | None) -> Answered | None:
        return await self._store.get(id, tenant)

    async def recent(self, count: int, tenant: str | None) -> list[Answered]:
        return await self._store.recent(count, tenant)
