"""What viewers are told, to whom, and what becomes of those who do not read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from heatbath.engine.base import Token, TokensGenerated
from heatbath.serve.dashboard.feed import Feed, FeedLimits, TooManyViewers, stream_events
from heatbath.serve.interfaces import RequestInfo, RequestOutcome
from heatbath.serve.telemetry import Metrics, build_metrics


def feed(metrics: Metrics | None = None, **more: Any) -> Feed:
    return Feed((metrics or build_metrics(["mock"])).snapshot, **more)


def answered(id: str, tenant: str = "a", **more: Any) -> RequestOutcome:
    ticket = RequestInfo(id, tenant, "/v1/chat/completions", "mock", False, 0.0, 1.7e9, {"temperature": 0.5})
    records = [{"text": ["x"], "entropy": [1.0], "nodes/log_z": [[0.0] * 16]}]
    return RequestOutcome(ticket, **{"status": 200, "completion_tokens": 1, "records": records, "content": {}, **more})


async def told(feed: Feed, tenant: str, what: Any, count: int) -> list[tuple[str, Any]]:
    """The first `count` events that a viewer is told after `what()`."""
    got = []
    with feed.connect_viewer(tenant) as viewer:
        what()
        async for event in stream_events(viewer):
            name, data = event.decode().removesuffix("\n\n").split("\n")
            got.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
            if len(got) == count:
                return got
    return got


def test_a_viewer_is_told_of_its_own_requests_only() -> None:
    async def main() -> None:
        made = feed()

        def happen() -> None:
            made.on_finish(answered("1", "b"))
            made.on_finish(answered("2", "a"))

        got = await told(made, "a", happen, 2)
        assert sorted(name for name, _ in got) == ["ended", "tick"]
        assert [row["id"] for name, row in got if name == "ended"] == ["2"]

    asyncio.run(main())


def test_a_tick_counts_what_happened() -> None:
    async def main() -> None:
        metrics = build_metrics(["mock"])
        made = feed(metrics, find_problem=lambda: "the disk is full")
        ticket = answered("1").request
        for observer in (metrics.request_metrics, made):
            observer.on_start(ticket)
            observer.on_tokens(ticket, TokensGenerated(0, [Token(1, -0.5)] * 3, "abc"))
            observer.on_finish(answered("1", status=500))
            observer.on_finish(answered("2", status=499))
            observer.on_rejection("/v1/completions", "rate_limit_exceeded")
        assert made.current_tick()["totals"] == {"requests": 2, "tokens": 3, "errors": 1, "refused": 1}
        assert made.current_tick()["trouble"] == "the disk is full"
        await asyncio.sleep(0.01)
        assert len(made.recent_ticks) == 1

    asyncio.run(main())


def test_a_viewer_that_does_not_read_is_dropped_and_the_others_are_not() -> None:
    async def main() -> None:
        made = feed(limits=FeedLimits(max_queued_events=4))
        with made.connect_viewer("a") as slow, made.connect_viewer("a") as quick:
            for i in range(20):
                made.on_finish(answered(str(i)))
                while not quick.queue.empty():
                    quick.queue.get_nowait()
            assert slow.is_dropped and not quick.is_dropped
            assert [event async for event in stream_events(slow)] == []

    asyncio.run(main())


def test_there_are_only_so_many_viewers() -> None:
    async def main() -> None:
        made = feed(limits=FeedLimits(max_viewers=2))
        with (
            made.connect_viewer("a"),
            made.connect_viewer("b"),
            pytest.raises(TooManyViewers),
            made.connect_viewer("c"),
        ):
            pass
        with made.connect_viewer("a"), made.connect_viewer("b"):
            pass

    asyncio.run(main())


def test_the_newest_answers_are_kept_without_nodes() -> None:
    async def main() -> None:
        made = feed(limits=FeedLimits(max_outcomes=3))
        for i in range(5):
            made.on_finish(answered(str(i)))
        made.on_finish(answered("9", "b"))
        assert [one.request.id for one in made.list_outcomes("a")] == ["4", "3"]
        assert [one.request.id for one in made.list_outcomes("b")] == ["9"]
        assert made.find_outcome("9", "a") is None
        found = made.find_outcome("4", "a")
        assert found is not None and found.records == [{"text": ["x"], "entropy": [1.0]}]

    asyncio.run(main())


def test_texts_are_not_kept_where_they_must_not_be() -> None:
    async def main() -> None:
        made = feed(keep_content=False)
        made.on_finish(answered("1", content={"answers": ["secret"]}))
        found = made.find_outcome("1", "a")
        assert found is not None and found.content is None and found.records is None

    asyncio.run(main())


def test_long_answers_leave_less_room() -> None:
    async def main() -> None:
        made = feed()
        for i in range(10):
            made.on_finish(answered(str(i), completion_tokens=20_000))
        assert [one.request.id for one in made.list_outcomes("a")] == ["9", "8"]

    asyncio.run(main())
