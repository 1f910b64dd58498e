"""Figures of a minute: replaced by whoever wrote them, summed over all who did."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import opened

from heatbath.serve.interfaces import StoreUnavailable
from heatbath.serve.storage import Minute
from heatbath.serve.storage.minutes import merge_minutes

NOW = 60.0 * (time.time() // 60)


def test_each_process_replaces_its_own_and_readers_get_the_sum(url: str) -> None:
    async def main() -> None:
        async with opened(url) as one, opened(url) as two:
            await one.write_minutes([Minute(NOW, "m", {"requests": 1}, {"entropy": [1.0, 2.0]}), Minute(NOW - 60, "m")])
            await two.write_minutes([Minute(NOW, "m", {"requests": 5, "errors": 1}, {"entropy": [0.0, 1.0, 4.0]})])
            await two.write_minutes([Minute(NOW + 60, "é", {"requests": 0.5})])
            await one.write_minutes([Minute(NOW, "m", {"requests": 3}, {"entropy": [1.0, 3.0]})])
            assert await one.read_minutes(NOW) == [
                Minute(NOW, "m", {"requests": 8, "errors": 1}, {"entropy": [1.0, 4.0, 4.0]}),
                Minute(NOW + 60, "é", {"requests": 0.5}),
            ]
            assert [minute.start for minute in await two.read_minutes(0.0)] == [NOW - 60, NOW, NOW + 60]
            await two.write_minutes([])

    asyncio.run(main())


def test_they_survive_a_restart_and_go_when_they_are_old(url: str) -> None:
    async def main() -> None:
        async with opened(url, clock=lambda: 10 * 86_400.0) as store:
            await store.write_minutes([Minute(86_400.0 * day, "m", {"n": day}) for day in range(1, 11)])
        async with opened(url, days=2, clock=lambda: 10 * 86_400.0) as store:
            for _ in range(200):
                left = [minute.counts["n"] for minute in await store.read_minutes(0.0)]
                if left == [8, 9, 10]:
                    return
                await asyncio.sleep(0.05)
            raise AssertionError(left)

    asyncio.run(main())


def test_without_a_database_they_are_refused(url: str) -> None:
    async def main() -> None:
        async with opened(url) as store:
            pass
        with pytest.raises(StoreUnavailable):
            await store.write_minutes([Minute(0.0, "m")])

    asyncio.run(main())


_minutes = st.builds(
    Minute,
    st.sampled_from([0.0, 60.0]),
    st.sampled_from(["a", "b"]),
    st.dictionaries(st.sampled_from("xy"), st.integers(0, 9)),
    st.dictionaries(st.sampled_from("uv"), st.lists(st.integers(0, 9), max_size=3)),
)


@settings(max_examples=40)
@given(st.lists(_minutes))
def test_a_sum_keeps_every_total(minutes: list[Minute]) -> None:
    out = merge_minutes(minutes)
    assert len({(minute.start, minute.model) for minute in out}) == len(out)
    for model in "ab":
        before, after = ([each for each in members if each.model == model] for members in (minutes, out))
        for name in "xy":
            assert sum(m.counts.get(name, 0) for m in before) == sum(m.counts.get(name, 0) for m in after)
        for name in "uv":
            totals = [sum(sum(m.histograms.get(name, [])) for m in members) for members in (before, after)]
            assert totals[0] == totals[1]
