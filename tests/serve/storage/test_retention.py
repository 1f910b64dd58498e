"""Outcomes expire when time has passed, not when somebody sets a clock."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import answer, opened

from heatbath.serve.storage import retention, writer
from heatbath.serve.storage.minutes import Minute
from heatbath.serve.storage.retention import MAX_RATE, RetentionClock

DAY = 86_400.0
NOW = 1.8e9


class Hands:
    """The clock of the machine and that since its start, both set by hand."""

    def __init__(self, wall: float = NOW, monotonic: float = 0.0) -> None:
        self.wall, self.monotonic = wall, monotonic

    def clock(self) -> RetentionClock:
        return RetentionClock(lambda: self.wall, lambda: self.monotonic)

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    @property
    def options(self) -> dict[str, Any]:
        return {"clock": lambda: self.wall, "monotonic": lambda: self.monotonic}


EVENTS = st.lists(
    st.tuples(st.sampled_from(["run", "jump", "pause", "restart", "other"]), st.floats(-1e9, 1e9)), max_size=40
)


@given(EVENTS, st.sampled_from([None, NOW - 50 * DAY, NOW, NOW + 50 * DAY]))
def test_it_never_goes_back_runs_ahead_or_jumps(events: list[tuple[str, float]], newest: float | None) -> None:
    hands = Hands()
    clocks = [hands.clock(), hands.clock()]
    kept = first = clocks[0].advance(None, newest)
    assert first == (hands.wall if newest is None else min(newest, hands.wall))
    latest_wall, total = hands.wall, 0.0
    for kind, size in events:
        if kind == "run":
            hands.run(abs(size) % DAY)
            total += abs(size) % DAY
        elif kind in ("jump", "pause"):
            hands.wall += abs(size) if kind == "pause" else size
        elif kind == "restart":
            clocks[0] = hands.clock()
        latest_wall = max(latest_wall, hands.wall)
        time_ = clocks[kind == "other"].advance(kept, None)
        assert time_ >= kept and time_ <= max(first, latest_wall)
        kept = time_
    # Two processes on one database, and any number of restarts, are not faster than one.
    assert kept - first <= MAX_RATE * total * (1 + 1e-9) + 1e-3


@given(st.floats(0, 400 * DAY), st.floats(1, 600))
def test_it_catches_up_after_a_pause(pause: float, step: float) -> None:
    hands = Hands()
    kept = hands.clock().advance(None, None)
    hands.wall += pause
    clock = hands.clock()
    kept = clock.advance(kept, None)
    for _ in range(math.ceil(pause / (MAX_RATE - 1) / 3600) + 1):
        for _ in range(2):
            hands.run(1800)
            kept = clock.advance(kept, None)
    assert kept == hands.wall
    hands.run(step)
    assert clock.advance(kept, None) == hands.wall


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete what has expired after every transaction."""
    monkeypatch.setattr(writer, "_CLEANUP_INTERVAL", 0.0)
    monkeypatch.setattr(writer, "_MAX_CLEANUP_INTERVAL", 0.0)


async def _stored(url: str, hands: Hands, name: str | None = None, hours: float = 0.0) -> set[str]:
    """Start a server, let it run for hours, store something, stop it; what is then there."""
    async with opened(url, **hands.options) as store:
        for _ in range(3):
            await store.write_minutes([Minute(NOW, "m", {"n": 1})])
            hands.run(hours * 1200)
        if name is not None:
            await store.save(answer(name))
        await store.write_minutes([Minute(NOW, "m", {"n": 1})])
        return {each.request.id for each in await store.list_recent(99, None)}


@pytest.mark.usefixtures("eager")
def test_a_start_with_the_wrong_date_loses_nothing(url: str) -> None:
    async def main() -> None:
        hands = Hands()
        assert await _stored(url, hands, "a") == {"a"}
        hands.wall += 40 * DAY
        for name in ("b", "c", "d"):
            # Each start after the first finds outcomes of the wrong date in the database.
            await _stored(url, hands, name, 7.0)
        assert await _stored(url, hands) == {"a", "b", "c", "d"}
        hands.wall -= 40 * DAY
        assert await _stored(url, hands, "e", 5.0) == {"a", "b", "c", "d", "e"}

    asyncio.run(main())


@pytest.mark.usefixtures("eager")
def test_a_start_with_a_date_long_ago_loses_nothing(sqlite: str) -> None:
    async def main() -> None:
        hands = Hands(NOW - 400 * DAY)
        await _stored(sqlite, Hands(), "a")
        await _stored(sqlite, hands, "b", 3.0)
        hands.wall += 400 * DAY
        assert await _stored(sqlite, hands, "c", 3.0) == {"a", "b", "c"}

    asyncio.run(main())


@pytest.mark.usefixtures("eager")
def test_what_is_old_goes_after_a_real_pause(url: str) -> None:
    async def main() -> None:
        hands = Hands()
        await _stored(url, hands, "a")
        hands.wall += 40 * DAY
        await _stored(url, hands, "b", 48.0)
        assert await _stored(url, hands) == {"b"}

    asyncio.run(main())


@pytest.mark.usefixtures("eager")
def test_a_clock_that_follows_every_jump_would_lose_it(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the tests above."""
    monkeypatch.setattr(retention, "MAX_RATE", 1e12)

    async def main() -> None:
        hands = Hands()
        await _stored(sqlite, hands, "a")
        hands.wall += 40 * DAY
        assert await _stored(sqlite, hands, "b", 0.1) == {"b"}

    asyncio.run(main())


def test_a_database_from_before_trusts_its_latest_row(sqlite: str) -> None:
    hands = Hands(time.time())
    assert hands.clock().advance(None, hands.wall - 40 * DAY) == hands.wall - 40 * DAY
