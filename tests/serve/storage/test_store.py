"""What is kept comes back, to whom it belongs, in the order in which it came."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import answer, opened, whole

from heatbath.errors import BadInput
from heatbath.serve.interfaces import RequestInfo, RequestOutcome, StoreUnavailable
from heatbath.serve.storage import SqlStore, open_store, writer

_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_numbers = st.floats(allow_nan=False, allow_infinity=False)
_plain = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | _numbers | st.text()
_json = st.recursive(_plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10)
_objects = st.dictionaries(st.text(), _json, max_size=4)
_counts = st.integers(0, 2**40)
_tickets = st.builds(
    RequestInfo,
    _texts,
    _texts,
    _texts,
    _texts,
    st.booleans(),
    started_at=st.just(0.0),
    created_at=_numbers,
    settings=_objects,
)
_answers = st.builds(
    RequestOutcome,
    _tickets,
    st.integers(100, 599),
    error=st.none() | _texts,
    prompt_tokens=_counts,
    cached_tokens=_counts,
    completion_tokens=_counts,
    finish_reasons=st.lists(st.text(), max_size=3).map(tuple),
    queue_seconds=st.none() | _numbers,
    first_token_seconds=st.none() | _numbers,
    duration=_numbers,
    seed=st.none() | st.integers(-(2**200), 2**200),
    summary=st.lists(_objects, max_size=2),
    content=st.none() | _objects,
    records=st.none() | st.lists(_objects, max_size=2),
)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    """An open store on either database."""
    store = open_store(url)
    yield store
    asyncio.run(store.close())


def test_any_answer_comes_back_exactly(store: SqlStore) -> None:
    count = iter(range(10**6))

    @settings(max_examples=50)
    @given(_answers)
    def law(answered: RequestOutcome) -> None:
        # The same example may come twice, and the same id is stored once.
        ticket = replace(answered.request, id=f"{next(count)}{answered.request.id}")
        asked = replace(answered, request=ticket)
        asyncio.run(store.save(asked))
        assert asyncio.run(store.get(ticket.id, ticket.tenant)) == asked

    law()


def test_what_json_has_no_number_for_becomes_null(store: SqlStore) -> None:
    odd = answer(
        summary=[{"s": math.nan, "e": [math.inf, 1.0]}],
        queue_seconds=math.nan,
        records=[{"e": np.array([1.5, -np.inf])}],
    )

    async def main() -> None:
        await store.save(odd)
        found = await store.get("a", None)
        assert found is not None
        assert (found.summary, found.queue_seconds, found.records) == (
            [{"s": None, "e": [None, 1.0]}],
            None,
            [{"e": [1.5, None]}],
        )

    asyncio.run(main())


def test_text_that_no_database_holds_is_mended(store: SqlStore) -> None:
    half = "\ud83d"
    odd = answer(f"a\0{half}", summary=[{"\0": "\0"}], content={f"x{half}": [f"é{half}\0", MappingProxyType({"y": 1})]})

    async def main() -> None:
        await store.save(odd)
        found = await store.get(f"a\0{half}", "t")
        assert found is not None and found.request.id == "a\ufffd\ufffd"
        assert found.content == {"x\ufffd": ["é\ufffd\0", {"y": 1}]}
        assert found.summary == [{"\0": "\0"}]

    asyncio.run(main())


def test_the_newest_come_first_and_of_one_tenant_alone(store: SqlStore) -> None:
    async def main() -> None:
        for k in range(6):
            await store.save(answer(str(k), f"t{k % 2}"))
        assert [each.request.id for each in await store.list_recent(4, None)] == ["5", "4", "3", "2"]
        assert [each.request.id for each in await store.list_recent(4, "t0")] == ["4", "2", "0"]
        assert await store.list_recent(4, "t") == []
        assert await store.get("3", "t0") is None
        assert await store.get("7", None) is None
        both = [await store.get("3", "t1"), await store.get("3", None)]
        assert all(found is not None and whole(found) for found in both)

    asyncio.run(main())


def test_an_id_is_stored_once_and_stays_its_tenants(store: SqlStore) -> None:
    first = answer(created=1.0, content=None, records=None)

    async def main() -> None:
        await store.save(first)
        await asyncio.gather(store.save(answer()), store.save(first), store.save(answer("b")))
        with pytest.raises(StoreUnavailable, match="id of this response is taken"):
            await store.save(answer(tenant="other"))
        together = store.save(answer("c")), store.save(answer("c", "other")), store.save(answer("d", "other"))
        outcomes = await asyncio.gather(*together, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), StoreUnavailable, type(None)]
        assert [each.request.id for each in await store.list_recent(9, None)] == ["d", "c", "b", "a"]
        # What came later under the same id must not hang its content on the first.
        assert await store.get("a", None) == first
        assert await store.get("c", "other") is None

    asyncio.run(main())


def test_content_is_left_out_where_it_is_not_wanted(url: str) -> None:
    async def main() -> None:
        async with opened(url, content=False) as store:
            await store.save(answer())
            found = await store.get("a", "t")
            assert found is not None
            assert (found.content, found.records, found.summary) == (None, None, [{"id": "a"}])

    asyncio.run(main())


def test_one_that_cannot_be_stored_takes_no_other_with_it(store: SqlStore) -> None:
    nest: list[Any] = []
    for _ in range(10**5):
        nest = [nest]
    bad = [answer("b", content={"x": object()}), answer("c", prompt_tokens=2**70), answer("d", content={"x": nest})]

    async def main() -> None:
        kept = [store.save(each) for each in (answer("a"), *bad, answer("e"))]
        outcomes = await asyncio.gather(*kept, return_exceptions=True)
        assert [isinstance(outcome, StoreUnavailable) for outcome in outcomes] == [False, True, True, True, False]
        assert "cannot be stored" in str(outcomes[1])
        assert store.unavailable_reason is None
        assert {each.request.id for each in await store.list_recent(9, None)} == {"a", "e"}

    asyncio.run(main())


def test_closing_writes_what_waits_and_takes_no_more(url: str) -> None:
    async def main() -> None:
        async with opened(url) as store:
            waiting = [asyncio.ensure_future(store.save(answer(str(k)))) for k in range(50)]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.save(answer())
        async with opened(url) as again:
            assert len(await again.list_recent(99, None)) == 50

    asyncio.run(main())


def test_who_gives_up_waiting_is_stored_all_the_same(store: SqlStore) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(store.save(answer()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.save(answer("b"))
        assert {each.request.id for each in await store.list_recent(9, None)} == {"a", "b"}

    asyncio.run(main())


class Dial:
    """A clock that is set by hand."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def __call__(self) -> float:
        return time.time() + self.ahead


YEAR = 365 * 86_400.0


async def _gone(store: SqlStore, left: int) -> bool:
    """Whether within ten seconds no more than so many are left."""
    for _ in range(200):
        if len(await store.list_recent(99, None)) <= left:
            return True
        await asyncio.sleep(0.05)
    return False


def test_what_is_old_goes_with_its_content(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_MAX_DELETED", 3)
    monkeypatch.setattr(writer, "_PROBE_INTERVAL", 0.1)
    monkeypatch.setattr(writer, "_CLEANUP_INTERVAL", 0.1)

    async def main() -> None:
        async with opened(url, clock=Dial(-2 * YEAR)) as store:
            for k in range(8):
                await store.save(answer(f"old{k}"))
        # Ten weeks in a second, of which deletion catches up 24 times as many.
        async with opened(url, days=400, monotonic=lambda: 7e6 * time.monotonic()) as store:
            await store.save(answer("new"))
            assert await _gone(store, 1)
            assert [each.request.id for each in await store.list_recent(9, None)] == ["new"]
            with store._database.engine.connect() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM contents").scalar() == 1

    asyncio.run(main())


@pytest.mark.parametrize("jump", [-2 * YEAR, 2 * YEAR])
def test_a_clock_that_is_set_loses_and_hides_nothing(url: str, jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is old goes after every transaction, so that by the next one it has gone.
    monkeypatch.setattr(writer, "_CLEANUP_INTERVAL", 0.0)
    monkeypatch.setattr(writer, "_MAX_CLEANUP_INTERVAL", 0.0)
    dial = Dial()

    async def main() -> None:
        async with opened(url, clock=dial) as store:
            for k in range(4):
                # Forwards and backwards once while it runs, then it stays wrong.
                dial.ahead = jump * (k % 2)
                await store.save(answer(str(k), created=dial()))
        # The clock is right again after a restart.
        async with opened(url) as store:
            await store.save(answer("4"))
            await store.save(answer("5"))
            assert [each.request.id for each in await store.list_recent(9, None)] == ["5", "4", "3", "2", "1", "0"]

    asyncio.run(main())


@pytest.mark.parametrize("days", [0, -1, math.nan])
def test_days_must_be_positive(sqlite: str, days: float) -> None:
    with pytest.raises(BadInput, match="days is"):
        open_store(sqlite, days=days)
