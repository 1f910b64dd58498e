"""What runs beside the requests, and the route."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import httpx2
import pytest
from starlette.applications import Starlette

from heatbath.serve.interfaces import RequestOutcome, StoreUnavailable
from heatbath.serve.storage.minutes import Minute
from heatbath.serve.telemetry import Metrics, background_tasks, routes

Samples = Callable[[Metrics], Mapping[str, float]]


class Shelf:
    def __init__(self, *errors: Exception | None) -> None:
        self.rows: list[Minute] = []
        self._errors = list(errors)

    async def write_minutes(self, rows: Sequence[Minute]) -> None:
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error
        self.rows += rows

    async def read_minutes(self, since: float) -> list[Minute]:
        return self.rows


def test_the_last_minute_is_written_at_the_end(metrics: Metrics, answered: Callable[..., RequestOutcome]) -> None:
    shelf = Shelf()

    async def run() -> None:
        async with metrics.run_background_tasks(shelf):
            metrics.request_metrics.on_finish(answered())
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
    assert sum(row.counts["requests"] for row in shelf.rows) == 1


def test_the_end_does_not_wait_for_a_storage_that_hangs(
    metrics: Metrics, answered: Callable[..., RequestOutcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hung(Shelf):
        async def write_minutes(self, rows: Sequence[Minute]) -> None:
            await asyncio.sleep(60)

    async def run() -> None:
        async with metrics.run_background_tasks(Hung()):
            metrics.request_metrics.on_finish(answered())

    monkeypatch.setattr(background_tasks, "LAST_FLUSH_TIMEOUT", 0.05)
    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 5
    assert metrics.minute_history.num_unsaved == 1


def test_writing_goes_on_after_any_error(
    metrics: Metrics, answered: Callable[..., RequestOutcome], caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf(StoreUnavailable("down"), RuntimeError("a bug"))

    async def run() -> None:
        metrics.request_metrics.on_finish(answered())
        async with background_tasks.run_in_background(
            background_tasks.flush_periodically(metrics.minute_history, shelf, interval=0.01)
        ):
            await asyncio.sleep(0.2)

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert len(shelf.rows) == 1
    assert [record.message for record in caplog.records if record.name == background_tasks.__name__] == [
        "the figures of the last minutes could not be stored"
    ]


def test_the_lag_of_the_event_loop_is_seen(metrics: Metrics, samples: Samples) -> None:
    async def run() -> None:
        async with background_tasks.run_in_background(
            background_tasks.measure_lag(metrics.instruments.lag, interval=0.02)
        ):
            await asyncio.sleep(0.05)
            time.sleep(0.2)  # what a handler that blocks does to everybody else
            await asyncio.sleep(0.05)

    asyncio.run(run())
    found = samples(metrics)
    assert found["heatbath_event_loop_lag_seconds_sum"] > 0.15
    slow = found["heatbath_event_loop_lag_seconds_count"] - found["heatbath_event_loop_lag_seconds_bucket{le=0.1}"]
    assert slow >= 1


def test_the_seconds_tick(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: list[float] = []

    async def run() -> None:
        async with background_tasks.run_in_background(
            background_tasks.call_every_second(lambda: ticks.append(time.monotonic()))
        ):
            await asyncio.sleep(1.2)

    asyncio.run(run())
    assert len(ticks) == 1


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=1.0.0, text/plain;q=0.5", "application/openmetrics-text"),
        ("application/openmetrics-text;version=9.x;escaping=\x7f", "application/openmetrics-text"),
    ],
)
def test_the_route(metrics: Metrics, accept: str | None, kind: str) -> None:
    app = Starlette(routes=routes())
    app.state.services = SimpleNamespace(metrics=metrics)

    async def ask() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://x") as client:
            return await client.get("/metrics", headers={"accept": accept} if accept else {})

    response = asyncio.run(ask())
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(kind)
    assert b"heatbath_build_info{" in response.content
