"""All metrics of a server, and the route that exports them."""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heatbath.engine.base import Engine
from heatbath.record import Observer
from heatbath.record.provenance import package_version
from heatbath.serve.interfaces import Store
from heatbath.serve.storage.minutes import MinuteStore
from heatbath.serve.telemetry.background_tasks import (
    call_every_second,
    flush_before_exit,
    flush_periodically,
    measure_lag,
    run_in_background,
)
from heatbath.serve.telemetry.ensemble_metrics import EnsembleCollector, EnsembleObserver
from heatbath.serve.telemetry.gauges import ServerGauges
from heatbath.serve.telemetry.instruments import Instruments, build_instruments
from heatbath.serve.telemetry.labels import Labels
from heatbath.serve.telemetry.minute_history import MinuteHistory
from heatbath.serve.telemetry.request_metrics import MeteredStore, RequestMetrics
from heatbath.serve.telemetry.rolling_rates import RollingRates
from heatbath.serve.telemetry.running_totals import RequestTotals

_OPENMETRICS = "application/openmetrics-text"


@dataclass(frozen=True)
class Metrics:
    """The metrics of a server: `request_metrics` observes requests, `observer` the steps of the engine."""

    registry: CollectorRegistry
    request_metrics: RequestMetrics
    observer: Observer
    minute_history: MinuteHistory
    rolling_rates: RollingRates
    instruments: Instruments
    gauges: ServerGauges

    def attach_gauges(self, engine: Engine, store: Store) -> Store:
        """Show the gauges of `engine` and `store` from now on. Return the store to use, which counts."""
        self.gauges.engine, self.gauges.store = engine, store
        return MeteredStore(store, self.instruments)

    def render_exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition for Prometheus and its content type: OpenMetrics where `accept` asks for it."""
        if _OPENMETRICS in accept.lower():
            text: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def snapshot(self) -> dict[str, Any]:
        """Return current figures, ready for JSON: requests in flight, the engine's `load`, and the rolling rates."""
        load = self.gauges.engine_stats
        return {
            "in_flight": self.request_metrics.in_flight,
            "load": asdict(load) if load else None,
            **self.rolling_rates.read_rates(),
        }

    @asynccontextmanager
    async def run_background_tasks(self, minute_store: MinuteStore | None = None) -> AsyncIterator[None]:
        """While the server is up: measure the event loop's lag, tick, and store the minutes in `minute_store`."""
        writing = [flush_periodically(self.minute_history, minute_store)] if minute_store is not None else []
        async with run_in_background(
            measure_lag(self.instruments.lag),
            call_every_second(self.rolling_rates.tick, self.minute_history.tick),
            *writing,
        ):
            yield
        if minute_store is not None:
            await flush_before_exit(self.minute_history, minute_store)


def build_metrics(models: Sequence[str], aliases: Mapping[str, str] | None = None) -> Metrics:
    """Return metrics with a registry of their own. The first of `models` is the engine's, the others may be labels too;
    `aliases` count as the model they stand for, any other name as "other".
    """
    registry = CollectorRegistry(auto_describe=True)
    labels = Labels(tuple(models), dict(aliases or {}))
    instruments, gauges, ensembles = build_instruments(registry), ServerGauges(), EnsembleObserver()
    instruments.build.info({"version": package_version(), "python": platform.python_version()})
    registry.register(EnsembleCollector(ensembles, labels.own_model))
    registry.register(gauges)
    totals = RequestTotals(labels.own_model, instruments, ensembles)
    meter = RequestMetrics(labels, instruments)
    return Metrics(registry, meter, ensembles, MinuteHistory(totals), RollingRates(totals), instruments, gauges)


def routes() -> list[Route]:
    """Return the route that Prometheus reads; the middleware checks who may."""
    return [Route("/metrics", _get_metrics, methods=["GET"])]


async def _get_metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.services.metrics
    body, kind = metrics.render_exposition(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": kind, "cache-control": "no-store"})
