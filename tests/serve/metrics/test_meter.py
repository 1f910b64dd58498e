"""Counts are exact after a known load, and the gauges are back at zero."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping

import pytest

from heatbath.engine.base import EngineStats, Request, Started, TokensGenerated
from heatbath.engine.mock import MockEngine, MockLatency
from heatbath.serve.interfaces import RequestInfo, RequestOutcome, StoreUnavailable
from heatbath.serve.telemetry import Metrics
from heatbath.serve.telemetry.instruments import build_instruments
from heatbath.serve.telemetry.labels import Labels
from heatbath.serve.telemetry.request_metrics import RequestMetrics

Samples = Callable[[Metrics], Mapping[str, float]]
MODEL = "model=smollm2-135m"
WHERE = f"endpoint=/v1/chat/completions,{MODEL}"


def test_a_known_load(
    metrics: Metrics, ticket: Callable[..., RequestInfo], answered: Callable[..., RequestOutcome], samples: Samples
) -> None:
    tickets = [ticket(f"r{i}", model="gpt-4o" if i % 2 else "smollm2-135m") for i in range(10)]
    for one in tickets:
        metrics.request_metrics.on_start(one)
    assert samples(metrics)["heatbath_in_flight_requests"] == 10
    for one in tickets[:7]:
        metrics.request_metrics.on_finish(answered(one))
    metrics.request_metrics.on_finish(
        answered(tickets[7], status=499, error="client_gone", finish_reasons=["cancelled"], completion_tokens=2)
    )
    metrics.request_metrics.on_finish(
        answered(tickets[8], status=500, error="internal_error", finish_reasons=[], completion_tokens=0)
    )
    metrics.request_metrics.on_finish(
        answered(tickets[9], finish_reasons=["stop", "length", "stop"], completion_tokens=30)
    )
    metrics.request_metrics.on_rejection("/v1/chat/completions", "queue_full")
    metrics.request_metrics.on_rejection("/v1/chat/completions", "queue_full")
    found = samples(metrics)
    expected = {
        f"heatbath_requests_total{{{WHERE},status=200}}": 8,
        f"heatbath_requests_total{{{WHERE},status=499}}": 1,
        f"heatbath_requests_total{{{WHERE},status=500}}": 1,
        f"heatbath_request_duration_seconds_count{{{WHERE}}}": 10,
        f"heatbath_request_duration_seconds_sum{{{WHERE}}}": 5.0,
        f"heatbath_request_duration_seconds_bucket{{endpoint=/v1/chat/completions,le=0.32,{MODEL}}}": 0,
        f"heatbath_request_duration_seconds_bucket{{endpoint=/v1/chat/completions,le=0.64,{MODEL}}}": 10,
        f"heatbath_time_to_first_token_seconds_count{{{MODEL}}}": 8,
        f"heatbath_queue_seconds_count{{{MODEL}}}": 10,
        f"heatbath_queue_seconds_sum{{{MODEL}}}": 0.03,
        f"heatbath_prompt_tokens_total{{{MODEL}}}": 100,
        f"heatbath_cached_prompt_tokens_total{{{MODEL}}}": 40,
        f"heatbath_completion_tokens_total{{{MODEL}}}": 7 * 5 + 2 + 30,
        f"heatbath_finish_total{{finish=stop,{MODEL}}}": 9,
        f"heatbath_finish_total{{finish=length,{MODEL}}}": 1,
        f"heatbath_finish_total{{finish=cancelled,{MODEL}}}": 1,
        "heatbath_errors_total{code=internal_error,endpoint=/v1/chat/completions}": 1,
        "heatbath_errors_total{code=client_gone,endpoint=/v1/chat/completions}": 1,
        "heatbath_refused_total{code=queue_full,endpoint=/v1/chat/completions}": 2,
        "heatbath_in_flight_requests": 0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "expected"), [([[1] * 5], 0.25), ([[1], [1, 1, 1]], 0.5), ([[3, 2, 2]], 0.25), ([[1]], None)]
)
def test_time_per_token_is_of_the_longest_answer(counts: list[list[int]], expected: float | None) -> None:
    """Steps of one second from the first token to the last, of which the longest answer had so many."""
    from heatbath.serve.telemetry.request_metrics import TokenTiming

    growth = TokenTiming("m")
    steps = [(choice, tokens) for choice, row in enumerate(counts) for tokens in row]
    for i, (choice, tokens) in enumerate(steps):
        growth.add_tokens(choice, tokens, 10 + i / max(len(steps) - 1, 1))
    assert growth.token_interval == expected


def test_time_per_token_reaches_the_histogram(
    metrics: Metrics, answered: Callable[..., RequestOutcome], grown: Callable[..., TokensGenerated], samples: Samples
) -> None:
    now = iter([5.0, 5.1, 5.3, 5.6])
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    meter = RequestMetrics(Labels(["smollm2-135m"]), build_instruments(registry), clock=lambda: next(now))
    meter.on_start(answered().request)
    for _ in range(4):
        meter.on_tokens(answered().request, grown())
    meter.on_tokens(answered().request, grown(0))  # only text that was held back: no token, no time
    meter.on_finish(answered())
    name = "heatbath_time_per_output_token_seconds"
    assert registry.get_sample_value(f"{name}_sum", {"model": "smollm2-135m"}) == pytest.approx(0.2)
    assert registry.get_sample_value(f"{name}_count", {"model": "smollm2-135m"}) == 1


def test_the_same_id_twice_at_once(
    metrics: Metrics, ticket: Callable[..., RequestInfo], answered: Callable[..., RequestOutcome]
) -> None:
    first, second = ticket("same", started_at=1.0), ticket("same", started_at=2.0)
    metrics.request_metrics.on_start(first)
    metrics.request_metrics.on_start(second)
    assert metrics.request_metrics.in_flight == 2
    metrics.request_metrics.on_finish(answered(dataclasses.replace(second)))
    metrics.request_metrics.on_finish(answered(first))
    assert metrics.request_metrics.in_flight == 0


async def _ask(
    metrics: Metrics, engine: MockEngine, ticket: RequestInfo, answered: Callable[..., RequestOutcome]
) -> None:
    """What the API does with a request, in small."""
    meter, spent = metrics.request_metrics, 0
    meter.on_start(ticket)
    status, finish = 499, ["cancelled"]
    try:
        async for step in engine.submit(Request((1, 2), ticket.id, max_tokens=20)):
            if isinstance(step, Started):
                continue
            if isinstance(step, TokensGenerated):
                meter.on_tokens(ticket, step)
                spent += len(step.tokens)
        status, finish = 200, ["length"]
    finally:
        meter.on_finish(answered(ticket, status=status, finish_reasons=finish, completion_tokens=spent))


def test_gauges_are_back_at_zero_after_aborts(
    metrics: Metrics, ticket: Callable[..., RequestInfo], answered: Callable[..., RequestOutcome], samples: Samples
) -> None:
    engine = MockEngine(MockLatency(each=0.04))

    async def run() -> None:
        metrics.attach_gauges(engine, _Store())
        asked = [ticket(f"r{i}") for i in range(40)]
        tasks = [asyncio.create_task(_ask(metrics, engine, one, answered)) for one in asked]
        await asyncio.sleep(0.05)
        busy = samples(metrics)
        assert busy["heatbath_in_flight_requests"] == busy["heatbath_engine_running_requests"] == 40
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    found = samples(metrics)
    gauges = ("in_flight_requests", "engine_running_requests", "engine_waiting_requests", "engine_batch_rows")
    assert [found[f"heatbath_{name}"] for name in gauges] == [0, 0, 0, 0]
    assert found[f"heatbath_requests_total{{{WHERE},status=200}}"] == 20
    assert found[f"heatbath_requests_total{{{WHERE},status=499}}"] == 20
    done, all_ = 20 * 20, found[f"heatbath_completion_tokens_total{{{MODEL}}}"]
    assert done < all_ < 2 * done
    metrics.minute_history.tick()
    [minute, *rest] = metrics.minute_history.minutes()
    both = [sum(m.counts.get(name, 0) for m in (minute, *rest)) for name in ("completion_tokens", "grown_tokens")]
    assert both == [all_, all_]


class _Store:
    def __init__(self, trouble: str | None = None) -> None:
        self.unavailable_reason = trouble

    async def save(self, answered: RequestOutcome) -> None:
        if self.unavailable_reason:
            raise StoreUnavailable(self.unavailable_reason)

    async def get(self, id: str, tenant: str | None) -> RequestOutcome | None:
        return None

    async def list_recent(self, count: int, tenant: str | None) -> list[RequestOutcome]:
        return []


def test_what_is_stored_and_what_is_not(
    metrics: Metrics, answered: Callable[..., RequestOutcome], samples: Samples
) -> None:
    inner = _Store()
    store = metrics.attach_gauges(MockEngine(), inner)

    async def run() -> None:
        await store.save(answered())
        await store.save(answered())
        inner.unavailable_reason = "the disk is full"
        with pytest.raises(StoreUnavailable):
            await store.save(answered())

    asyncio.run(run())
    found = samples(metrics)
    assert (found["heatbath_stored_total"], found["heatbath_unstored_total"], found["heatbath_store_up"]) == (2, 1, 0)
    assert found["heatbath_store_duration_seconds_count"] == 2
    assert store.unavailable_reason == "the disk is full"


def test_the_load_of_the_engine(metrics: Metrics, samples: Samples) -> None:
    class Busy(MockEngine):
        @property
        def stats(self) -> EngineStats:
            return EngineStats(running=3, waiting=2, rows=7, prefix_asked=100, prefix_hit=40, prefix_bytes=1 << 20)

    assert not any(name.startswith("heatbath_engine_running") for name in samples(metrics))
    metrics.attach_gauges(Busy(unavailable_reason="starting"), _Store())
    found = samples(metrics)
    assert found["heatbath_engine_up"] == 0
    assert found["heatbath_engine_batch_rows"] == 7
    assert found["heatbath_prefix_hit_tokens_total"] == 40
    assert found["heatbath_prefix_cache_bytes"] == 1 << 20
    assert metrics.snapshot()["load"]["waiting"] == 2
