"""Lists, changes and deletions of stored answers, and the migration of metadata that was stored before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from stored import answer, opened

from heatbath.serve.interfaces import AnswerQuery, RequestOutcome
from heatbath.serve.storage import SqlStore
from heatbath.serve.storage.database import Database
from heatbath.serve.storage.edits import AnswerEdit
from heatbath.serve.storage.migrate import VERSION_TABLE
from heatbath.serve.storage.schema import answers, confidences, contents, labels, review_contents, reviews

NUL = {"nul": "a\0b", "key": "\ud800"}


def labeled(id: str, metadata: Mapping[str, str] | None = None, tenant: str = "t", model: str = "m") -> RequestOutcome:
    made = answer(id, tenant, content={"text": id, "metadata": metadata})
    settings = {} if metadata is None else {"metadata": metadata, "user": "me"}
    return replace(made, request=replace(made.request, settings=settings, model=model))


def query(**others: object) -> AnswerQuery:
    return replace(AnswerQuery("t", "/v1/completions", 100), **others)  # type: ignore[arg-type]


async def ids(store: SqlStore, **others: object) -> list[str]:
    return [found.request.id for found in await store.list_answers(query(**others))]


def test_a_list_is_of_one_tenant_in_order_by_pages_and_filters(url: str) -> None:
    async def run() -> None:
        async with opened(url) as store:
            for i in range(5):
                metadata = {"k": str(i % 2), "all": "yes"} if i else NUL
                await store.save(labeled(f"a{i}", metadata, model="n" if i == 4 else "m"))
            await store.save(labeled("other", {"k": "0", "all": "yes"}, "u"))
            await store.save(answer("bare", content=None, records=None))
            everything = ["a0", "a1", "a2", "a3", "a4"]
            assert await ids(store) == everything
            assert await ids(store, ascending=False) == everything[::-1]
            assert await ids(store, limit=2) == ["a0", "a1"]
            assert await ids(store, limit=2, after="a1") == ["a2", "a3"]
            assert await ids(store, ascending=False, after="a1") == ["a0"]
            assert await ids(store, metadata={"k": "0"}) == ["a2", "a4"]
            assert await ids(store, metadata={"k": "0", "all": "no"}) == []
            assert await ids(store, metadata={"k": "0"}, model="m") == ["a2"]
            assert await ids(store, metadata=NUL) == ["a0"]
            assert await ids(store, endpoint="/v1/responses") == []

    asyncio.run(run())


def test_metadata_changes_and_content_goes_for_its_tenant_alone(url: str) -> None:
    async def run() -> None:
        async with opened(url) as store:
            for i in range(3):
                await store.save(labeled(f"a{i}", {"k": "old"}))
            assert not await store.update_metadata("a0", "u", {"k": "stolen"})
            assert not await store.delete_content("a0", "u")
            assert not await store.update_metadata("none", "t", {})
            assert await store.update_metadata("a0", "t", {"k": "new", **NUL})
            found = await store.get("a0", "t")
            assert found is not None and found.content == {
                "text": "a0",
                "metadata": {"k": "new", "nul": "a\0b", "key": "\ufffd"},
            }
            assert found.records == answer("a0").records
            assert await ids(store, metadata={"k": "new"}) == ["a0"]
            assert await ids(store, metadata={"k": "old"}) == ["a1", "a2"]
            assert await store.delete_content("a1", "t")
            assert not await store.delete_content("a1", "t")
            gone = await store.get("a1", "t")
            assert gone is not None and gone.content is None and gone.records is None
            assert gone.request.settings == {} and gone.summary == answer("a1").summary
            assert await ids(store) == ["a0", "a2"]
            # A page may go on after one that has been deleted since.
            assert await ids(store, after="a1") == ["a2"]
            await store.save(labeled("a1", {"k": "again"}))
            assert (await store.get("a1", "t")) == gone
        async with opened(url) as store:
            assert await ids(store) == ["a0", "a2"]

    asyncio.run(run())


def test_an_edit_that_is_committed_twice_has_found_its_outcome(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection lost at the commit leaves its outcome unknown, and the edit is made again."""
    first = []

    async def run() -> None:
        async with opened(url) as store:
            await store.save(labeled("a"))
            writer = store._writer
            run_once = writer._run_transaction

            def lose(jobs: list[object]) -> object:
                done = run_once(jobs)  # type: ignore[arg-type]
                if not first and any(isinstance(job.payload, AnswerEdit) for job in jobs):  # type: ignore[attr-defined]
                    first.append(True)
                    raise OperationalError("COMMIT", {}, Exception("the connection is lost"))
                return done

            monkeypatch.setattr(writer, "_run_transaction", lose)
            assert await store.delete_content("a", "t")
            assert await ids(store) == []

    asyncio.run(run())
    assert first == [True]


def test_metadata_of_the_first_schema_can_be_searched(url: str) -> None:
    async def fill() -> None:
        async with opened(url) as store:
            await store.save(labeled("a", {"k": "v", **NUL}))
            await store.save(labeled("b"))
            with store._database.engine.begin() as connection:
                for table in (labels, review_contents, reviews, confidences):
                    table.drop(connection)
                connection.exec_driver_sql("DROP INDEX ix_answers_endpoint")
                connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '0001'")

    async def read() -> None:
        async with opened(url) as store:
            assert await ids(store, metadata={"k": "v"}) == ["a"]
            assert await ids(store, metadata=NUL) == ["a"]
            assert await ids(store) == ["a", "b"]

    asyncio.run(fill())
    asyncio.run(read())


def test_what_expires_takes_its_metadata_with_it(url: str) -> None:
    async def run() -> None:
        async with opened(url) as store:
            await store.save(labeled("a", {"k": "v"}))
            with store._database.engine.begin() as connection:
                connection.execute(answers.delete())

    asyncio.run(run())
    database = Database(url)
    with database.engine.connect() as connection:
        for table in (contents, labels):
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 0
    database.engine.dispose()
