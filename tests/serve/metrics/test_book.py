"""Minutes: each thing counted once, in its minute, whatever the storage and the clock do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.engine.base import TokensGenerated
from heatbath.record import Frame
from heatbath.serve.interfaces import RequestInfo, RequestOutcome, StoreUnavailable
from heatbath.serve.storage.minutes import Minute
from heatbath.serve.telemetry import Metrics, build_metrics
from heatbath.serve.telemetry.minute_history import MinuteHistory
from heatbath.serve.telemetry.rolling_rates import RollingRates
from heatbath.serve.telemetry.running_totals import HISTOGRAM_EDGES, RequestTotals

START = 1_700_000_040.0


class Clock:
    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Shelf:
    """A `History` in memory: a minute stored again replaces what was there."""

    def __init__(self) -> None:
        self.rows: dict[tuple[float, str], Minute] = {}
        self.error: BaseException | None = None
        self.wait = 0.0
        self.writes = 0

    async def write_minutes(self, rows: Sequence[Minute]) -> None:
        self.writes += 1
        await asyncio.sleep(self.wait)
        if self.error is not None:
            raise self.error
        self.rows |= {(row.start, row.model): row for row in rows}

    async def read_minutes(self, since: float) -> list[Minute]:
        return [row for key, row in sorted(self.rows.items()) if key[0] >= since]

    def total(self, name: str) -> float:
        return sum(row.counts.get(name, 0.0) for row in self.rows.values())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(metrics: Metrics, clock: Clock) -> MinuteHistory:
    return MinuteHistory(metrics.minute_history._totals, clock=clock, max_minutes=5)


def test_what_a_minute_holds(
    metrics: Metrics,
    book: MinuteHistory,
    clock: Clock,
    ticket: Callable[..., RequestInfo],
    answered: Callable[..., RequestOutcome],
    grown: Callable[..., TokensGenerated],
    frame: Callable[..., Frame],
) -> None:
    shelf = Shelf()
    one = ticket()
    metrics.request_metrics.on_start(one)
    metrics.request_metrics.on_tokens(one, grown(5))
    metrics.request_metrics.on_finish(answered(one))
    metrics.request_metrics.on_finish(answered(ticket(model="unknown"), status=503))
    metrics.request_metrics.on_rejection("/v1/completions", "unavailable")
    metrics.observer.update(frame(2))
    assert asyncio.run(book.flush(shelf))
    clock.now += 61
    metrics.request_metrics.on_finish(answered(ticket(), status=499))
    assert asyncio.run(book.flush(shelf))
    expected = frame(2).record
    assert expected is not None
    first, second = (shelf.rows[start, "smollm2-135m"] for start in (START, START + 60))
    assert first.counts["requests"] == first.counts["refused"] == first.counts["steps"] == 1
    assert first.counts["grown_tokens"] == first.counts["completion_tokens"] == 5
    assert "errors" not in first.counts
    assert first.counts["entropy_sum"] == pytest.approx(expected["entropy"].sum())
    assert sum(first.histograms["entropy"]) == 2
    assert first.histograms["duration"] == [0, 0, 0, 0, 0, 0, 1, *[0] * 8]
    assert {name: len(row) for name, row in first.histograms.items()}.items() <= {
        name: len(edges) + 1 for name, edges in HISTOGRAM_EDGES.items()
    }.items()
    assert (second.counts["requests"], second.counts["gone"]) == (1, 1)
    assert "errors" not in second.counts
    assert shelf.rows[START, "other"].counts["errors"] == 1


def test_an_idle_server_writes_nothing(book: MinuteHistory, clock: Clock) -> None:
    shelf = Shelf()
    for _ in range(5):
        clock.now += 60
        assert asyncio.run(book.flush(shelf))
    assert shelf.writes == 0


def test_a_storage_that_is_down_loses_nothing_it_could_hold(
    metrics: Metrics, book: MinuteHistory, clock: Clock, answered: Callable[..., RequestOutcome]
) -> None:
    shelf = Shelf()
    shelf.error = StoreUnavailable("the disk is full")
    for _ in range(4):
        metrics.request_metrics.on_finish(answered())
        assert not asyncio.run(book.flush(shelf))
        clock.now += 60
    assert (book.num_unsaved, shelf.rows) == (4, {})
    shelf.error = None
    assert asyncio.run(book.flush(shelf))
    assert (book.num_unsaved, shelf.total("requests"), len(shelf.rows)) == (0, 4, 4)


def test_at_most_so_many_minutes_wait_and_the_newest_stay(
    metrics: Metrics, book: MinuteHistory, clock: Clock, answered: Callable[..., RequestOutcome]
) -> None:
    shelf = Shelf()
    shelf.error = StoreUnavailable("down")
    for _ in range(12):
        metrics.request_metrics.on_finish(answered())
        asyncio.run(book.flush(shelf))
        clock.now += 60
    assert book.num_unsaved == 5
    shelf.error = None
    assert asyncio.run(book.flush(shelf))
    assert [row.start for row in book.minutes()] == [START + 60 * i for i in range(7, 12)]


def test_what_comes_during_a_write_is_written_next_time(
    metrics: Metrics, book: MinuteHistory, answered: Callable[..., RequestOutcome]
) -> None:
    shelf = Shelf()
    shelf.wait = 0.02

    async def run() -> None:
        metrics.request_metrics.on_finish(answered())
        writing = asyncio.create_task(book.flush(shelf))
        await asyncio.sleep(0.01)
        metrics.request_metrics.on_finish(answered())
        book.tick()
        await writing
        assert shelf.total("requests") == 1
        await book.flush(shelf)

    asyncio.run(run())
    assert shelf.total("requests") == 2


def test_a_write_that_was_cancelled_is_made_again(
    metrics: Metrics, book: MinuteHistory, answered: Callable[..., RequestOutcome]
) -> None:
    shelf = Shelf()
    shelf.wait = 60

    async def run() -> None:
        metrics.request_metrics.on_finish(answered())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(book.flush(shelf), 0.01)

    asyncio.run(run())
    assert book.num_unsaved == 1


def test_a_clock_set_back_adds_to_the_minute_it_finds(
    metrics: Metrics, book: MinuteHistory, clock: Clock, answered: Callable[..., RequestOutcome]
) -> None:
    shelf = Shelf()
    for now in (START, START + 60, START + 120, START + 1, START + 61):
        clock.now = now
        metrics.request_metrics.on_finish(answered())
        asyncio.run(book.flush(shelf))
    assert [row.counts["requests"] for row in asyncio.run(shelf.read_minutes(0))] == [2, 2, 1]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 70)), max_size=30))
def test_nothing_is_lost_or_doubled(events: list[tuple[int, bool, int]]) -> None:
    metrics, clock, shelf = build_metrics(["m"]), Clock(), Shelf()
    book = MinuteHistory(metrics.minute_history._totals, clock=clock)
    for requests, down, later in events:
        for _ in range(requests):
            metrics.request_metrics.on_finish(RequestOutcome(RequestInfo("i", "t", "/x", "m", False, 0.0, 0.0), 200))
        shelf.error = StoreUnavailable("down") if down else None
        asyncio.run(book.flush(shelf))
        clock.now += later
    shelf.error = None
    asyncio.run(book.flush(shelf))
    assert shelf.total("requests") == sum(requests for requests, _, _ in events)


def test_rates_of_the_last_seconds(metrics: Metrics, answered: Callable[..., RequestOutcome]) -> None:
    clock = Clock(0.0)
    live = RollingRates(metrics.minute_history._totals, clock=clock)
    for second in range(1, 121):
        clock.now = float(second)
        for _ in range(1 if second <= 60 else 3):
            metrics.request_metrics.on_finish(answered())
        live.tick()
    read = live.read_rates()
    model = read["models"]["smollm2-135m"]
    assert [model["rates"][span]["requests"] for span in ("10", "60", "300")] == [3.0, 3.0, 2.0]
    assert model["times"]["duration"]["count"] == 180
    assert model["times"]["duration"]["mean"] == pytest.approx(0.5)
    assert 0.32 < model["times"]["duration"]["p95"] <= 0.64
    assert sum(model["histograms"]["duration"]["counts"]) == 180
    assert len(read["edges"]["entropy"]) + 1 == len(model["histograms"]["entropy"]["counts"])
    assert model["histograms"]["entropy"]["p50"] is None


def test_a_snapshot_is_json(metrics: Metrics) -> None:
    import json

    read = json.loads(json.dumps(metrics.snapshot(), allow_nan=False))
    assert (read["in_flight"], read["load"]) == (0, None)


def test_totals_of_a_model_that_is_not_the_engines() -> None:
    metrics = build_metrics(["m", "embedder"])
    metrics.request_metrics.on_finish(
        RequestOutcome(RequestInfo("i", "t", "/v1/embeddings", "embedder", False, 0.0, 0.0), 200)
    )
    totals: RequestTotals = metrics.minute_history._totals
    assert set(totals.read_vectors()) == {"m", "embedder"}
