"""Confidences of stored answers and their labels, on both databases."""

from __future__ import annotations

import asyncio

from sqlalchemy import func, select
from stored import answer, opened

from heatbath.serve.interfaces import AnswerConfidence
from heatbath.serve.storage.database import Database
from heatbath.serve.storage.migrate import VERSION_TABLE
from heatbath.serve.storage.schema import answers, confidences, review_contents, reviews

FIRST, SECOND = AnswerConfidence(0, 0.9, "c"), AnswerConfidence(1, 0.25, "c", is_withheld=True)


def test_a_label_stays_with_its_choice(url: str) -> None:
    async def run() -> None:
        async with opened(url) as store:
            await store.save(answer("a", confidences=[FIRST, SECOND]))
            await store.save(answer("a", confidences=[AnswerConfidence(0, 0.1, "c")]))
            await store.save(answer("b", confidences=[AnswerConfidence(0, 0.5, "other")]))
            await store.save(answer("bare"))
            assert await store.label_choice("a", "t", 0, is_right=True) == FIRST
            again = await store.label_choice("a", "t", 0, is_right=False)
            assert again is not None and again.is_right is True and again.labeled_at is not None
            last = await store.label_choice("a", "t", 0, is_right=False)
            assert last is not None and last.is_right is False and last.labeled_at == again.labeled_at
            assert await store.label_choice("a", "t", 1, is_right=True) == SECOND
            assert await store.label_choice("a", "t", 1, is_right=True) == SECOND
            for id, tenant, choice in (
                ("a", "u", 0),
                ("a", "t", 2),
                ("bare", "t", 0),
                ("none", "t", 0),
                ("\0", "t", 0),
            ):
                assert await store.label_choice(id, tenant, choice, is_right=True) is None
        async with opened(url) as store:
            found = await store.list_confidences("c", 10)
            assert [(id, one.choice, one.is_right) for id, one in found] == [("a", 0, False), ("a", 1, None)]
            assert [one.value for _, one in await store.list_confidences("c", 1)] == [0.25]
            assert await store.delete_content("a", "t")
            assert await store.list_confidences("c", 10) == found
            with store._database.engine.begin() as connection:
                connection.execute(answers.delete())
            assert await store.list_confidences("c", 10) == []

    asyncio.run(run())


def test_a_database_without_confidences_gets_them(url: str) -> None:
    async def fill() -> None:
        async with opened(url) as store:
            await store.save(answer("a"))
            with store._database.engine.begin() as connection:
                for table in (review_contents, reviews, confidences):
                    table.drop(connection)
                connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '0002'")

    async def use() -> None:
        async with opened(url) as store:
            assert await store.label_choice("a", "t", 0, is_right=True) is None
            await store.save(answer("b", confidences=[FIRST]))
            assert await store.label_choice("b", "t", 0, is_right=True) == FIRST

    asyncio.run(fill())
    asyncio.run(use())
    database = Database(url)
    with database.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(answers)).scalar() == 2
    database.engine.dispose()
