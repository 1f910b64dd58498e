"""Export of spans and metrics to a collector over OTLP/HTTP, which never delays a request."""

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

from heatbath.record.provenance import package_version
from heatbath.serve.telemetry.labels import Labels
from heatbath.serve.telemetry.otel import conventions
from heatbath.serve.telemetry.otel.spans import SpanOptions, Telemetry

EXPORT_TIMEOUT = 5.0
"""Seconds for one export, with its retries."""

CLOSE_TIMEOUT = 5.0
"""Seconds for the last export when the server stops."""

CLOSE_THREAD_NAME = "heatbath-otel-close"
"""Name of the thread of the last export."""


@dataclass(frozen=True)
class Tracing:
    """An `observer` of requests, and the providers that export its spans and metrics."""

    observer: Telemetry
    tracer_provider: TracerProvider
    meter_provider: MeterProvider

    @asynccontextmanager
    async def close_on_exit(self) -> AsyncIterator[None]:
        """Export what is left when the server stops, within `CLOSE_TIMEOUT` seconds."""
        try:
            yield
        finally:
            # A daemon: a collector that hangs must not keep the process from ending.
            closing = Thread(target=self._close, name=CLOSE_THREAD_NAME, daemon=True)
            closing.start()
            await asyncio.to_thread(closing.join, CLOSE_TIMEOUT)

    def _close(self) -> None:
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()


def build_providers(processor: SpanProcessor, reader: MetricReader, labels: Labels, options: SpanOptions) -> Tracing:
    """Send spans to `processor` and metrics to `reader`, through providers of their own, not those of the process."""
    name = os.environ.get("OTEL_SERVICE_NAME", conventions.PROVIDER)
    resource = Resource.create({"service.name": name, "service.version": package_version()})
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(processor)
    meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    version = package_version()
    telemetry = Telemetry(
        tracers.get_tracer("heatbath.serve", version), meters.get_meter("heatbath.serve", version), labels, options
    )
    return Tracing(telemetry, tracers, meters)


def build_http_tracing(endpoint: str | None, labels: Labels, options: SpanOptions) -> Tracing:
    """Send to the collector at `endpoint` (http://host:4318), else to that of OpenTelemetry's own environment."""
    base = None if endpoint is None else endpoint.rstrip("/")
    spans = OTLPSpanExporter(base and f"{base}/v1/traces", timeout=EXPORT_TIMEOUT)
    metrics = OTLPMetricExporter(base and f"{base}/v1/metrics", timeout=EXPORT_TIMEOUT)
    return build_providers(BatchSpanProcessor(spans), PeriodicExportingMetricReader(metrics), labels, options)
