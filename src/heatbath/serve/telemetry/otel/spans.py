"""The observer that makes a span of every request, and the three latencies that the conventions give a server."""

from __future__ import annotations

import time
from dataclasses import dataclass

from opentelemetry.context import attach, detach
from opentelemetry.metrics import Histogram
from opentelemetry.metrics import Meter as OtelMeter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Receive, Scope, Send

from heatbath.engine.base import TokensGenerated
from heatbath.serve.interfaces import RequestInfo, RequestOutcome
from heatbath.serve.telemetry.labels import Labels
from heatbath.serve.telemetry.otel import conventions
from heatbath.serve.telemetry.otel.attributes import (
    Attributes,
    content_attributes,
    request_attributes,
    response_attributes,
)
from heatbath.serve.telemetry.request_metrics import TokenTiming, request_key

_TRACE_HEADERS = (b"traceparent", b"tracestate")


@dataclass(frozen=True)
class SpanOptions:
    """Options of spans: names of the newest conventions, content of prompts and completions, address of the server."""

    use_latest: bool = False
    include_content: bool = False
    address: str | None = None
    port: int | None = None

    @property
    def server_attributes(self) -> Attributes:
        """Attributes of the server's address, as far as it is known."""
        both = {conventions.SERVER_ADDRESS: self.address, conventions.SERVER_PORT: self.port}
        return {name: value for name, value in both.items() if value is not None}


@dataclass
class _OpenSpan:
    span: Span
    operation: str
    started_ns: int
    timing: TokenTiming


class Telemetry:
    """A `RequestObserver` over a tracer and a meter. The parent of a span is the span of the current context."""

    def __init__(self, tracer: Tracer, meter: OtelMeter, labels: Labels, options: SpanOptions) -> None:
        self._tracer = tracer
        self._labels = labels
        self._options = options
        self._open_spans: dict[tuple[str, float], _OpenSpan] = {}
        self._duration = _build_histogram(meter, *conventions.REQUEST_DURATION, "From arrival to the end of a request.")
        self._first_token = _build_histogram(
            meter, *conventions.TIME_TO_FIRST_TOKEN, "From arrival to the first token."
        )
        self._token_interval = _build_histogram(
            meter, *conventions.TIME_PER_OUTPUT_TOKEN, "Between tokens after the first."
        )

    def on_start(self, request: RequestInfo) -> None:
        operation = conventions.OPERATIONS.get(self._labels.endpoint(request.endpoint))
        if operation is None:
            return
        started = time.time_ns() - round((time.monotonic() - request.started_at) * 1e9)
        attributes = (
            request_attributes(request, operation, latest=self._options.use_latest) | self._options.server_attributes
        )
        name = f"{operation} {attributes[conventions.REQUEST_MODEL]}"
        # The model runs in this process, for which the conventions want INTERNAL.
        span = self._tracer.start_span(name, kind=SpanKind.INTERNAL, attributes=attributes, start_time=started)
        self._open_spans[request_key(request)] = _OpenSpan(
            span, operation, started, TokenTiming(self._labels.model(request.model))
        )

    def on_tokens(self, request: RequestInfo, event: TokensGenerated) -> None:
        open_ = self._open_spans.get(request_key(request))
        if open_ is not None and event.tokens:
            open_.timing.add_tokens(event.choice, len(event.tokens), time.monotonic())

    def on_finish(self, outcome: RequestOutcome) -> None:
        open_ = self._open_spans.pop(request_key(outcome.request), None)
        if open_ is None:
            return
        span = open_.span
        span.set_attributes(response_attributes(outcome, open_.timing.model, latest=self._options.use_latest))
        if self._options.include_content:
            span.set_attributes(content_attributes(outcome))
        if outcome.status >= 400:
            span.set_status(Status(StatusCode.ERROR))
        self._record_latencies(outcome, open_)
        span.end(open_.started_ns + round(outcome.duration * 1e9))

    def on_rejection(self, endpoint: str, code: str) -> None:
        """Do nothing: a rejected request has no span."""

    def _record_latencies(self, outcome: RequestOutcome, open_span: _OpenSpan) -> None:
        model = open_span.timing.model
        attributes: Attributes = {
            conventions.OPERATION_NAME: open_span.operation,
            conventions.PROVIDER_NAME: conventions.PROVIDER,
            conventions.REQUEST_MODEL: model,
            conventions.RESPONSE_MODEL: model,
            **self._options.server_attributes,
        }
        context = set_span_in_context(open_span.span)
        if outcome.status >= 400:
            attributes[conventions.ERROR_TYPE] = self._labels.code(outcome.error or "")
            self._duration.record(outcome.duration, attributes, context)
            return
        self._duration.record(outcome.duration, attributes, context)
        if outcome.first_token_seconds is not None:
            self._first_token.record(outcome.first_token_seconds, attributes, context)
        if open_span.timing.token_interval is not None:
            self._token_interval.record(open_span.timing.token_interval, attributes, context)


def _build_histogram(meter: OtelMeter, name: str, edges: tuple[float, ...], text: str) -> Histogram:
    return meter.create_histogram(name, unit="s", description=text, explicit_bucket_boundaries_advisory=edges)


@dataclass(frozen=True)
class TraceContextMiddleware:
    """ASGI middleware that makes the client's span, from its `traceparent` header, the parent of spans made inside.

    A malformed header counts as none.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        carried = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _TRACE_HEADERS}
        token = attach(TraceContextTextMapPropagator().extract(carried))
        try:
            await self.app(scope, receive, send)
        finally:
            detach(token)
