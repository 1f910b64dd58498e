"""The observer that counts requests: each once, when it ends, its tokens as they come, and whether it is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic, perf_counter

from heatbath.engine.base import TokensGenerated
from heatbath.serve.interfaces import AnswerConfidence, AnswerQuery, RequestInfo, RequestOutcome, Store
from heatbath.serve.telemetry.instruments import Instruments
from heatbath.serve.telemetry.labels import Labels


@dataclass
class TokenTiming:
    """Arrival times of a request's tokens; `later_counts` are the tokens of each choice after its first event.

    `model` is a label.
    """

    model: str
    first_time: float = 0.0
    last_time: float = 0.0
    later_counts: dict[int, int] = field(default_factory=dict)

    def add_tokens(self, choice: int, tokens: int, now: float) -> None:
        """Count tokens of a choice that arrived at `now`."""
        if not self.later_counts:
            self.first_time = now
        self.last_time = now
        self.later_counts[choice] = self.later_counts[choice] + tokens if choice in self.later_counts else 0

    @property
    def token_interval(self) -> float | None:
        """Seconds between tokens of the longest choice, None if no choice has got a second one."""
        longest = max(self.later_counts.values(), default=0)
        return (self.last_time - self.first_time) / longest if longest else None


def request_key(request: RequestInfo) -> tuple[str, float]:
    """Return what tells requests apart, even if two at once have the same id."""
    return request.id, request.started_at


class RequestMetrics:
    """A `RequestObserver` that fills the instruments. `clock` gives seconds that never go back."""

    def __init__(self, labels: Labels, instruments: Instruments, *, clock: Callable[[], float] = monotonic) -> None:
        self._labels = labels
        self._instruments = instruments
        self._clock = clock
        self._timings: dict[tuple[str, float], TokenTiming] = {}

    @property
    def in_flight(self) -> int:
        """Number of requests that have been accepted and have not ended."""
        return len(self._timings)

    def on_start(self, request: RequestInfo) -> None:
        self._timings[request_key(request)] = TokenTiming(self._labels.model(request.model))
        self._instruments.in_flight.set(len(self._timings))

    def on_tokens(self, request: RequestInfo, event: TokensGenerated) -> None:
        timing = self._timings.get(request_key(request))
        if timing is not None and event.tokens:
            timing.add_tokens(event.choice, len(event.tokens), self._clock())
            self._instruments.generated.labels(timing.model).inc(len(event.tokens))

    def on_finish(self, outcome: RequestOutcome) -> None:
        request, instruments, labels = outcome.request, self._instruments, self._labels
        timing = self._timings.pop(request_key(request), None)
        instruments.in_flight.set(len(self._timings))
        model, endpoint = labels.model(request.model), labels.endpoint(request.endpoint)
        instruments.requests.labels(endpoint, model, labels.status(outcome.status)).inc()
        instruments.prompt.labels(model).inc(outcome.prompt_tokens)
        instruments.cached_prompt.labels(model).inc(outcome.cached_tokens)
        instruments.completion.labels(model).inc(outcome.completion_tokens)
        for reason in outcome.finish_reasons:
            if reason:
                instruments.finish_reasons.labels(model, labels.finish(reason)).inc()
        instruments.duration.labels(endpoint, model).observe(outcome.duration)
        if outcome.queue_seconds is not None:
            instruments.queue.labels(model).observe(outcome.queue_seconds)
        if outcome.status >= 400:
            # No times of tokens: a request that broke off after one would make the server look fast.
            instruments.errors.labels(endpoint, labels.code(outcome.error or "error")).inc()
            return
        if outcome.first_token_seconds is not None:
            instruments.first_token.labels(model).observe(outcome.first_token_seconds)
        interval = None if timing is None else timing.token_interval
        if interval is not None:
            instruments.token_interval.labels(model).observe(interval)

    def on_rejection(self, endpoint: str, code: str) -> None:
        self._instruments.rejections.labels(self._labels.endpoint(endpoint), self._labels.code(code)).inc()


class MeteredStore:
    """A `Store` that counts and times what it saves."""

    def __init__(self, store: Store, instruments: Instruments) -> None:
        self._store = store
        self._instruments = instruments

    @property
    def unavailable_reason(self) -> str | None:
        return self._store.unavailable_reason

    async def save(self, outcome: RequestOutcome) -> None:
        start = perf_counter()
        try:
            await self._store.save(outcome)
        except BaseException:
            self._instruments.store_failures.inc()
            raise
        self._instruments.store_successes.inc()
        self._instruments.store_duration.observe(perf_counter() - start)

    async def get(self, id: str, tenant: str | None) -> RequestOutcome | None:
        return await self._store.get(id, tenant)

    async def list_recent(self, count: int, tenant: str | None) -> list[RequestOutcome]:
        return await self._store.list_recent(count, tenant)

    async def list_answers(self, query: AnswerQuery) -> list[RequestOutcome]:
        return await self._store.list_answers(query)

    async def update_metadata(self, id: str, tenant: str, metadata: Mapping[str, str]) -> bool:
        return await self._store.update_metadata(id, tenant, metadata)

    async def delete_content(self, id: str, tenant: str) -> bool:
        return await self._store.delete_content(id, tenant)

    async def label_choice(self, id: str, tenant: str, choice: int, *, is_right: bool) -> AnswerConfidence | None:
        return await self._store.label_choice(id, tenant, choice, is_right=is_right)

    async def list_confidences(self, calibrator: str, limit: int) -> list[tuple[str, AnswerConfidence]]:
        return await self._store.list_confidences(calibrator, limit)
