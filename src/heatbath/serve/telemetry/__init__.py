"""Metrics: Prometheus at `/metrics`, minutes and seconds for the dashboard, and OpenTelemetry where it is enabled.

build_metrics(models)   Metrics: an observer of requests, an observer of the engine's steps, a registry, minutes
routes()                `/metrics`
otel                    spans and metrics over OTLP (extra `otel`)
"""

from __future__ import annotations

from heatbath.serve.telemetry.metrics import Metrics, build_metrics, routes

__all__ = ["Metrics", "build_metrics", "routes"]
