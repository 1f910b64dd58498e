"""The watcher that makes a span of every request, and the three latencies that the conventions give a server."""

from __future__ import annotations

import time
from dataclasses import dataclass

from opentelemetry.metrics import Histogram
from opentelemetry.metrics import Meter as OtelMeter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from heatbath.engine.base import Grown
from heatbath.serve.base import Answered, Ticket
from heatbath.serve.metrics.growth import Growth, key_of
from heatbath.serve.metrics.labels import Labels
from heatbath.serve.metrics.otel import names
from heatbath.serve.metrics.otel.attributes import Attributes, asked, content, given


@dataclass(frozen=True)
class Wanted:
    """What a span holds: names of the `latest` conventions, `content` of prompts and answers, and who the server is."""

    latest: bool = False
    content: bool = False
    address: str | None = None
    port: int | None = None

    @property
    def server(self) -> Attributes:
        """The server's address, as far as it is known."""
        both = {names.SERVER_ADDRESS: self.address, names.SERVER_PORT: self.port}
        return {name: value for name, value in both.items() if value is not None}


@dataclass
class _Open:
    span: Span
    operation: str
    started: int
    growth: Growth


class Telemetry:
    """A `Watcher` over a tracer and a meter. The parent of a span is whatever span the current context holds."""

    def __init__(self, tracer: Tracer, meter: OtelMeter, labels: Labels, wanted: Wanted) -> None:
        self._tracer = tracer
        self._labels = labels
        self._wanted = wanted
        self._open: dict[tuple[str, float], _Open] = {}
        self._duration = _histogram(meter, *names.REQUEST_DURATION, "From arrival to the end of a request.")
        self._first = _histogram(meter, *names.TIME_TO_FIRST_TOKEN, "From arrival to the first token.")
        self._each = _histogram(meter, *names.TIME_PER_OUTPUT_TOKEN, "Between tokens after the first.")

    def arrived(self, ticket: Ticket) -> None:
        operation = names.OPERATIONS.get(self._labels.endpoint(ticket.endpoint))
        if operation is None:
            return
        started = time.time_ns() - round((time.monotonic() - ticket.started) * 1e9)
        attributes = asked(ticket, operation, latest=self._wanted.latest) | self._wanted.server
        name = f"{operation} {attributes[names.REQUEST_MODEL]}"
        # The model runs in this process, for which the conventions want INTERNAL.
        span = self._tracer.start_span(name, kind=SpanKind.INTERNAL, attributes=attributes, start_time=started)
        self._open[key_of(ticket)] = _Open(span, operation, started, Growth(self._labels.model(ticket.model)))

    def grew(self, ticket: Ticket, grown: Grown) -> None:
        open_ = self._open.get(key_of(ticket))
        if open_ is not None and grown.tokens:
            open_.growth.add(grown.choice, len(grown.tokens), time.monotonic())

    def ended(self, answered: Answered) -> None:
        open_ = self._open.pop(key_of(answered.ticket), None)
        if open_ is None:
            return
        span = open_.span
        span.set_attributes(given(answered, open_.operation, open_.growth.model, latest=self._wanted.latest))
        if self._wanted.content:
            span.set_attributes(content(answered))
        if answered.status >= 400:
            span.set_status(Status(StatusCode.ERROR))
        self._measure(answered, open_)
        span.end(open_.started + round(answered.duration * 1e9))

    def refused(self, endpoint: str, code: str) -> None:
        """Nothing: what was never taken has no span."""

    def _measure(self, answered: Answered, open_: _Open) -> None:
        model = open_.growth.model
        attributes: Attributes = {
            names.OPERATION_NAME: open_.operation,
            names.PROVIDER_NAME: names.PROVIDER,
            names.REQUEST_MODEL: model,
            names.RESPONSE_MODEL: model,
            **self._wanted.server,
        }
        context = set_span_in_context(open_.span)
        if answered.status >= 400:
            attributes[names.ERROR_TYPE] = self._labels.code(answered.error or "")
            self._duration.record(answered.duration, attributes, context)
            return
        self._duration.record(answered.duration, attributes, context)
        if answered.first_token is not None:
            self._first.record(answered.first_token, attributes, context)
        if open_.growth.each is not None:
            self._each.record(open_.growth.each, attributes, context)


def _histogram(meter: OtelMeter, name: str, edges: tuple[float, ...], text: str) -> Histogram:
    return meter.create_histogram(name, unit="s", description=text, explicit_bucket_boundaries_advisory=edges)
