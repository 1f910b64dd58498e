"""A PostgreSQL that stops, hangs or hangs up: answers are refused in time, and taken again when it is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from postgres import Postgres
from stored import answer, back, discreet, newest, opened, refused, whole

from heatbath.serve.interfaces import StoreUnavailable
from heatbath.serve.storage import DatabaseUnusable, SqlStore, open_store


async def _keep_on(store: SqlStore, name: str, log: dict[str, float | None], until: Callable[[], bool]) -> None:
    """Store one after the other; of each, the seconds it took to be refused, None where it was stored."""
    count = 0
    while not until():
        id, started = f"{name}-{count}", time.monotonic()
        count += 1
        try:
            await store.save(answer(id))
            log[id] = None
        except StoreUnavailable as error:
            discreet(str(error), "heatbath@", "127.0.0.1")
            log[id] = time.monotonic() - started
            await asyncio.sleep(0.02)


def test_it_is_stopped_and_started_under_load(postgres: Postgres, postgres_url: str) -> None:
    log: dict[str, float | None] = {}
    over = asyncio.Event()

    async def main() -> None:
        async with opened(postgres_url) as store:
            tasks = [asyncio.ensure_future(_keep_on(store, str(k), log, over.is_set)) for k in range(16)]
            await asyncio.sleep(0.2)
            await asyncio.to_thread(postgres.stop)
            while store.unavailable_reason is None:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)
            assert store.unavailable_reason == "The database cannot be reached; it is tried again every second."
            with pytest.raises(StoreUnavailable):
                await store.list_recent(1, None)
            await asyncio.to_thread(postgres.start)
            await back(store)
            await store.save(answer("after"))
            over.set()
            await asyncio.gather(*tasks)

    asyncio.run(main())
    refusals = [seconds for seconds in log.values() if seconds is not None]
    assert refusals and max(refusals) < 8.0
    found = asyncio.run(newest(postgres_url))
    ids = [each.request.id for each in found]
    assert len(ids) == len(set(ids)) and all(map(whole, found))
    assert {id for id, seconds in log.items() if seconds is None} | {"after"} <= set(ids)


def test_it_is_away_when_the_server_starts(postgres: Postgres, postgres_url: str) -> None:
    async def main() -> None:
        with postgres.stopped():
            store = open_store(postgres_url)
            assert store.unavailable_reason is not None
            await refused(store, "cannot be reached", within=2.0)
            with pytest.raises(StoreUnavailable):
                await store.get("a", None)
        await back(store)
        await store.save(answer())
        assert await store.get("a", "t") is not None
        await store.close()

    asyncio.run(main())


def test_it_hangs(postgres: Postgres, postgres_url: str) -> None:
    async def main() -> None:
        async with opened(postgres_url) as store:
            await store.save(answer())
            with postgres.frozen():
                await refused(store, "does not respond", within=8.0)
                await refused(store, "does not respond", within=2.0)
            await back(store)
            await store.save(answer("b"))
            assert {"a", "b"} <= {each.request.id for each in await store.list_recent(9, None)}

    asyncio.run(main())


def test_it_hangs_up_between_two_uses(postgres: Postgres, postgres_url: str) -> None:
    hang_up = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'heatbath'"

    async def main() -> None:
        async with opened(postgres_url) as store:
            await store.save(answer())
            postgres.sql(hang_up)
            assert await store.get("a", "t") is not None
            postgres.sql(hang_up)
            await store.save(answer("b"))
            assert store.unavailable_reason is None

    asyncio.run(main())


@pytest.mark.parametrize("committed", [True, False])
def test_a_connection_lost_during_the_commit_stores_once(
    postgres_url: str, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with opened(postgres_url) as store:
            dialect, lost = store._database.engine.dialect, []
            commit = dialect.do_commit

            def lose(connection: Any) -> None:
                if lost:
                    return commit(connection)
                lost.append(True)
                if committed:
                    commit(connection)
                connection.dbapi_connection.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")

            monkeypatch.setattr(dialect, "do_commit", lose)
            await asyncio.gather(*(store.save(answer(str(k))) for k in range(5)))
            assert lost
            found = await store.list_recent(99, None)
            assert sorted(each.request.id for each in found) == ["0", "1", "2", "3", "4"]
            assert all(map(whole, found))

    asyncio.run(main())


def test_one_that_is_not_there_or_lets_nobody_in(postgres: Postgres) -> None:
    with pytest.raises(DatabaseUnusable, match="no database of that name") as caught:
        open_store(postgres.url("absent", tcp=True).replace("heatbath@", "heatbath:secret@"))
    discreet(str(caught.value), "absent", "secret", "127.0.0.1")
    with pytest.raises(DatabaseUnusable, match="refuses this user"):
        open_store(postgres.url("postgres", tcp=True).replace("heatbath@", "nobody:secret@"))
