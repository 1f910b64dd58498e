"""OpenTelemetry (extra `otel`): a span for every request and the conventions' server metrics, over OTLP/HTTP.

build_tracing(...)              Tracing: an observer of requests, and its shutdown
spans.TraceContextMiddleware    finds the trace that a request belongs to
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from heatbath.errors import MissingExtra
from heatbath.serve.telemetry.labels import Labels
from heatbath.serve.telemetry.otel import conventions

if TYPE_CHECKING:
    from heatbath.serve.telemetry.otel.export import Tracing

_REQUIRED_MODULES = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


def build_tracing(
    endpoint: str | None,
    models: Sequence[str],
    aliases: Mapping[str, str] | None = None,
    *,
    address: str | None = None,
    port: int | None = None,
) -> Tracing:
    """Return tracing to the collector at `endpoint`; models and aliases are those of `telemetry.build_metrics`.

    The environment says whether content is sent (`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`) and whether the
    newest names are used (`OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental`).

    Raises:
        MissingExtra: without the extra `otel`.
    """
    if not _is_installed():
        raise MissingExtra("sending traces", "otel")
    from heatbath.serve.telemetry.otel.export import build_http_tracing
    from heatbath.serve.telemetry.otel.spans import SpanOptions

    wanted = SpanOptions(wants_latest(), wants_content(), address, port)
    return build_http_tracing(endpoint, Labels(tuple(models), dict(aliases or {})), wanted)


def wants_latest() -> bool:
    """Return whether the environment asks for the newest conventions."""
    return conventions.LATEST in [part.strip() for part in os.environ.get(conventions.OPT_IN, "").split(",")]


def wants_content() -> bool:
    """Return whether the environment asks for prompts and completions on spans."""
    return os.environ.get(conventions.CAPTURE, "").strip().lower() in conventions.CAPTURE_VALUES


def _is_installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in _REQUIRED_MODULES)
    except ModuleNotFoundError:
        return False
