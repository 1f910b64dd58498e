"""The watcher that counts: every request once, when it ends, and its tokens as they come."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from heatbath.engine.base import Grown
from heatbath.serve.base import Answered, Ticket
from heatbath.serve.metrics.growth import Growth, key_of
from heatbath.serve.metrics.instruments import Instruments
from heatbath.serve.metrics.labels import Labels
from heatbath.serve.metrics.totals import Totals

GONE = 499


class Meter:
    """A `Watcher` that fills the instruments and the running totals. `clock` gives seconds that never go back."""

    def __init__(
        self, labels: Labels, instruments: Instruments, totals: Totals, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._labels = labels
        self._to = instruments
        self._totals = totals
        self._clock = clock
        self._growing: dict[tuple[str, float], Growth] = {}

    @property
    def in_flight(self) -> int:
        """Requests taken and not ended."""
        return len(self._growing)

    def arrived(self, ticket: Ticket) -> None:
        self._growing[key_of(ticket)] = Growth(self._labels.model(ticket.model))
        self._to.in_flight.set(len(self._growing))

    def grew(self, ticket: Ticket, grown: Grown) -> None:
        growth = self._growing.get(key_of(ticket))
        if growth is None or not grown.tokens:
            return
        growth.add(grown.choice, len(grown.tokens), self._clock())
        self._totals.add(growth.model, "grown_tokens", len(grown.tokens))

    def ended(self, answered: Answered) -> None:
        ticket = answered.ticket
        growth = self._growing.pop(key_of(ticket), None)
        self._to.in_flight.set(len(self._growing))
        model, endpoint = self._labels.model(ticket.model), self._labels.endpoint(ticket.endpoint)
        self._to.requests.labels(endpoint, model, self._labels.status(answered.status)).inc()
        self._to.duration.labels(endpoint, model).observe(answered.duration)
        if answered.status >= 400:
            self._to.errors.labels(endpoint, self._labels.code(answered.error or "error")).inc()
        self._count(model, answered)
        self._time(model, answered, growth.each if growth else None)

    def refused(self, endpoint: str, code: str) -> None:
        self._to.refused.labels(self._labels.endpoint(endpoint), self._labels.code(code)).inc()
        self._totals.add(self._totals.own, "refused")

    def _count(self, model: str, answered: Answered) -> None:
        self._to.prompt.labels(model).inc(answered.prompt_tokens)
        self._to.cached_prompt.labels(model).inc(answered.cached_tokens)
        self._to.completion.labels(model).inc(answered.completion_tokens)
        for reason in filter(None, answered.finish):
            self._to.finish.labels(model, self._labels.finish(reason)).inc()
        add = self._totals.add
        add(model, "requests")
        add(model, "gone", answered.status == GONE)
        add(model, "errors", answered.status >= 400 and answered.status != GONE)
        add(model, "prompt_tokens", answered.prompt_tokens)
        add(model, "cached_tokens", answered.cached_tokens)
        add(model, "completion_tokens", answered.completion_tokens)

    def _time(self, model: str, answered: Answered, each: float | None) -> None:
        """Times of tokens are of requests that went well: what broke off after one would make the server look fast."""
        observe = self._totals.observe
        if answered.waited is not None:
            self._to.queue.labels(model).observe(answered.waited)
            observe(model, "waited", answered.waited)
        observe(model, "duration", answered.duration)
        if answered.status >= 400:
            return
        if answered.first_token is not None:
            self._to.first_token.labels(model).observe(answered.first_token)
            observe(model, "first_token", answered.first_token)
        if each is not None:
            self._to.each_token.labels(model).observe(each)
            observe(model, "each_token", each)
