"""What viewers are told, to whom, and what becomes of those who do not read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from heatbath.engine.base import Grown, Token
from heatbath.serve.base import Answered, Ticket
from heatbath.serve.metrics import build
from heatbath.serve.page.feed import Bounds, Feed, Full, events


def feed(**more: Any) -> Feed:
    return Feed(build(["mock"]).snapshot, **more)


def answered(id: str, tenant: str = "a", **more: Any) -> Answered:
    ticket = Ticket(id, tenant, "/v1/chat/completions", "mock", False, 0.0, 1.7e9, {"temperature": 0.5})
    records = [{"text": ["x"], "entropy": [1.0], "nodes/log_z": [[0.0] * 16]}]
    return Answered(ticket, **{"status": 200, "completion_tokens": 1, "records": records, "content": {}, **more})


async def told(feed: Feed, tenant: str, what: Any, count: int) -> list[tuple[str, Any]]:
    """The first `count` events that a viewer is told after `what()`."""
    got = []
    with feed.watching(tenant) as viewer:
        what()
        async for event in events(viewer):
            name, data = event.decode().removesuffix("\n\n").split("\n")
            got.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
            if len(got) == count:
                return got
    return got


def test_a_viewer_is_told_of_its_own_requests_only() -> None:
    async def main() -> None:
        made = feed()

        def happen() -> None:
            made.ended(answered("1", "b"))
            made.ended(answered("2", "a"))

        got = await told(made, "a", happen, 2)
        assert sorted(name for name, _ in got) == ["ended", "tick"]
        assert [row["id"] for name, row in got if name == "ended"] == ["2"]

    asyncio.run(main())


def test_a_tick_counts_what_happened() -> None:
    async def main() -> None:
        made = feed(trouble=lambda: "the disk is full")
        ticket = answered("1").ticket
        made.arrived(ticket)
        made.grew(ticket, Grown(0, [Token(1, -0.5)] * 3, "abc"))
        made.ended(answered("1", status=500))
        made.ended(answered("2", status=499))
        made.refused("/v1/completions", "rate_limit_exceeded")
        assert made.now()["totals"] == {"requests": 2, "tokens": 3, "errors": 1, "refused": 1}
        assert made.now()["trouble"] == "the disk is full"
        await asyncio.sleep(0.01)
        assert len(made.recent) == 1

    asyncio.run(main())


def test_a_viewer_that_does_not_read_is_dropped_and_the_others_are_not() -> None:
    async def main() -> None:
        made = feed(bounds=Bounds(waiting=4))
        with made.watching("a") as slow, made.watching("a") as quick:
            for i in range(20):
                made.ended(answered(str(i)))
                while not quick.queue.empty():
                    quick.queue.get_nowait()
            assert slow.dropped and not quick.dropped
            assert [event async for event in events(slow)] == []

    asyncio.run(main())


def test_there_are_only_so_many_viewers() -> None:
    async def main() -> None:
        made = feed(bounds=Bounds(viewers=2))
        with made.watching("a"), made.watching("b"), pytest.raises(Full), made.watching("c"):
            pass
        with made.watching("a"), made.watching("b"):
            pass

    asyncio.run(main())


def test_the_newest_answers_are_kept_without_nodes() -> None:
    async def main() -> None:
        made = feed(bounds=Bounds(answers=3))
        for i in range(5):
            made.ended(answered(str(i)))
        made.ended(answered("9", "b"))
        assert [one.ticket.id for one in made.answers("a")] == ["4", "3"]
        assert [one.ticket.id for one in made.answers("b")] == ["9"]
        assert made.answer("9", "a") is None
        found = made.answer("4", "a")
        assert found is not None and found.records == [{"text": ["x"], "entropy": [1.0]}]

    asyncio.run(main())


def test_texts_are_not_kept_where_they_must_not_be() -> None:
    async def main() -> None:
        made = feed(content=False)
        made.ended(answered("1", content={"answers": ["secret"]}))
        found = made.answer("1", "a")
        assert found is not None and found.content is None and found.records is None

    asyncio.run(main())


def test_long_answers_leave_less_room() -> None:
    async def main() -> None:
        made = feed()
        for i in range(10):
            made.ended(answered(str(i), completion_tokens=20_000))
        assert [one.ticket.id for one in made.answers("a")] == ["9", "8"]

    asyncio.run(main())
