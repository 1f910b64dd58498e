"""The watcher that counts: every request once, when it ends, and its tokens as they come."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from heatbath.engine.base import TokensGenerated
from heatbath.serve.errors import CLIENT_CLOSED_REQUEST
from heatbath.serve.interfaces import RequestInfo, RequestOutcome
from heatbath.serve.telemetry.instruments import Instruments
from heatbath.serve.telemetry.labels import Labels
from heatbath.serve.telemetry.running_totals import RequestTotals
from heatbath.serve.telemetry.token_timing import TokenTiming, request_key


class RequestMetrics:
    """A `Watcher` that fills the instruments and the running totals. `clock` gives seconds that never go back."""

    def __init__(
        self, labels: Labels, instruments: Instruments, totals: RequestTotals, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._labels = labels
        self._instruments = instruments
        self._totals = totals
        self._clock = clock
        self._timings: dict[tuple[str, float], TokenTiming] = {}

    @property
    def in_flight(self) -> int:
        """Requests taken and not ended."""
        return len(self._timings)

    def on_start(self, request: RequestInfo) -> None:
        self._timings[request_key(request)] = TokenTiming(self._labels.model(request.model))
        self._instruments.in_flight.set(len(self._timings))

    def on_tokens(self, request: RequestInfo, event: TokensGenerated) -> None:
        growth = self._timings.get(request_key(request))
        if growth is None or not event.tokens:
            return
        growth.add_tokens(event.choice, len(event.tokens), self._clock())
        self._totals.add(growth.model, "grown_tokens", len(event.tokens))

    def on_finish(self, outcome: RequestOutcome) -> None:
        ticket = outcome.request
        growth = self._timings.pop(request_key(ticket), None)
        self._instruments.in_flight.set(len(self._timings))
        model, endpoint = self._labels.model(ticket.model), self._labels.endpoint(ticket.endpoint)
        self._instruments.requests.labels(endpoint, model, self._labels.status(outcome.status)).inc()
        self._instruments.duration.labels(endpoint, model).observe(outcome.duration)
        if outcome.status >= 400:
            self._instruments.errors.labels(endpoint, self._labels.code(outcome.error or "error")).inc()
        self._count_request(model, outcome)
        self._observe_times(model, outcome, growth.token_interval if growth else None)

    def on_rejection(self, endpoint: str, code: str) -> None:
        self._instruments.rejections.labels(self._labels.endpoint(endpoint), self._labels.code(code)).inc()
        self._totals.add(self._totals.own_model, "refused")

    def _count_request(self, model: str, outcome: RequestOutcome) -> None:
        self._instruments.prompt.labels(model).inc(outcome.prompt_tokens)
        self._instruments.cached_prompt.labels(model).inc(outcome.cached_tokens)
        self._instruments.completion.labels(model).inc(outcome.completion_tokens)
        for reason in filter(None, outcome.finish_reasons):
            self._instruments.finish_reasons.labels(model, self._labels.finish(reason)).inc()
        add = self._totals.add
        add(model, "requests")
        add(model, "gone", outcome.status == CLIENT_CLOSED_REQUEST)
        add(model, "errors", outcome.status >= 400 and outcome.status != CLIENT_CLOSED_REQUEST)
        add(model, "prompt_tokens", outcome.prompt_tokens)
        add(model, "cached_tokens", outcome.cached_tokens)
        add(model, "completion_tokens", outcome.completion_tokens)

    def _observe_times(self, model: str, outcome: RequestOutcome, token_interval: float | None) -> None:
        """Times of tokens are of requests that went well: what broke off after one would make the server look fast."""
        observe = self._totals.observe
        if outcome.queue_seconds is not None:
            self._instruments.queue.labels(model).observe(outcome.queue_seconds)
            observe(model, "waited", outcome.queue_seconds)
        observe(model, "duration", outcome.duration)
        if outcome.status >= 400:
            return
        if outcome.first_token_seconds is not None:
            self._instruments.first_token.labels(model).observe(outcome.first_token_seconds)
            observe(model, "first_token", outcome.first_token_seconds)
        if token_interval is not None:
            self._instruments.token_interval.labels(model).observe(token_interval)
            observe(model, "each_token", token_interval)
