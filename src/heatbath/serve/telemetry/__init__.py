"""Metrics: Prometheus at `/metrics`, the minutes and seconds that the page shows, and OpenTelemetry where it is wanted.

build(models)       Metrics: a watcher of requests, an observer of the engine's steps, a registry, a book of minutes
routes()            `/metrics`
otel                spans and metrics over OTLP (extra `otel`)
"""

from __future__ import annotations

from heatbath.serve.telemetry.metrics import Metrics, build_metrics, routes

__all__ = ["Metrics", "build_metrics", "routes"]
