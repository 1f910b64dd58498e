"""Sending spans and metrics to a collector over OTLP/HTTP, beside the requests and never in their way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from heatbath.record.about import package_version
from heatbath.serve.metrics.labels import Labels
from heatbath.serve.metrics.otel import names
from heatbath.serve.metrics.otel.telemetry import Telemetry, Wanted

EXPORT_TIMEOUT = 5.0
"""Seconds that one delivery may take, with its retries."""

CLOSING = 5.0
"""Seconds that the last delivery may take when the server stops."""

CLOSER = "heatbath-otel-close"
"""Name of the thread that makes it."""


@dataclass(frozen=True)
class Tracing:
    """`watcher` belongs to the server's watchers; `running` delivers what is left when the server stops."""

    watcher: Telemetry
    tracers: TracerProvider
    meters: MeterProvider

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the server is up. At the end waits `CLOSING` seconds at most for a collector that does not answer."""
        try:
            yield
        finally:
            # A daemon: a collector that hangs must not keep the process from ending.
            closing = Thread(target=self._close, name=CLOSER, daemon=True)
            closing.start()
            await asyncio.to_thread(closing.join, CLOSING)

    def _close(self) -> None:
        self.tracers.shutdown()
        self.meters.shutdown()


def tracing(processor: SpanProcessor, reader: MetricReader, labels: Labels, wanted: Wanted) -> Tracing:
    """Spans to `processor`, metrics to `reader`, through providers of their own: the process's are left alone."""
    name = os.environ.get("OTEL_SERVICE_NAME", names.PROVIDER)
    resource = Resource.create({"service.name": name, "service.version": package_version()})
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(processor)
    meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    version = package_version()
    telemetry = Telemetry(
        tracers.get_tracer("heatbath.serve", version), meters.get_meter("heatbath.serve", version), labels, wanted
    )
    return Tracing(telemetry, tracers, meters)


def over_http(endpoint: str | None, labels: Labels, wanted: Wanted) -> Tracing:
    """To the collector at `endpoint` (http://host:4318), else where OpenTelemetry's own environment says."""
    base = None if endpoint is None else endpoint.rstrip("/")
    spans = OTLPSpanExporter(base and f"{base}/v1/traces", timeout=EXPORT_TIMEOUT)
    metrics = OTLPMetricExporter(base and f"{base}/v1/metrics", timeout=EXPORT_TIMEOUT)
    return tracing(BatchSpanProcessor(spans), PeriodicExportingMetricReader(metrics), labels, wanted)
