"""Answers and figures in SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Row, Select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from heatbath.errors import BadInput
from heatbath.serve.base import Answered, StoreDown
from heatbath.serve.storage import rows
from heatbath.serve.storage.codec import answered_of
from heatbath.serve.storage.database import Database
from heatbath.serve.storage.minutes import Minute, summed
from heatbath.serve.storage.trouble import SILENT, UNREADABLE, Unusable, lasting, sentence
from heatbath.serve.storage.writer import PATIENCE, Terms, Writer

T = TypeVar("T")
_READERS = 4


def open_store(
    url: str, *, days: float = 30.0, content: bool = True, clock: Callable[[], float] = time.time
) -> SqlStore:
    """The store at `url`: `sqlite:///FILE`, made where it is not there, or `postgresql+psycopg://…`.

    What was stored more than `days` ago goes; without `content` only what stands in the columns is kept. A database
    that cannot be reached now is tried again every second, and until then is the store's `trouble`.

    Raises:
        BadInput: the URL names no database, or `days` is not positive.
        MissingExtra: PostgreSQL without its driver.
        Unusable: the database is damaged, of a newer schema, or not writable.
    """
    if not days > 0:
        raise BadInput(f"days is {days}: give a number above 0.")
    database = Database(url)
    trouble = None
    try:
        database.prepare()
    except (SQLAlchemyError, sqlite3.Error, Unusable) as error:
        trouble = sentence(error)
        database.engine.dispose()
        if isinstance(error, Unusable) or lasting(error):
            raise Unusable(trouble) from None
    return SqlStore(database, Terms(days, content, uuid.uuid4().hex, clock), trouble)


class SqlStore:
    """A `serve.base.Store` and `History`; `open_store` makes one. Any number of processes may share a database."""

    def __init__(self, database: Database, terms: Terms, trouble: str | None) -> None:
        self._database = database
        self._writer = Writer(database, terms, trouble)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="heatbath-storage")

    @property
    def trouble(self) -> str | None:
        """One sentence on what is down, None if nothing is."""
        return self._writer.trouble

    async def keep(self, answered: Answered) -> None:
        """Store durably: when it returns, a crash loses nothing. Twice the same id stores once. Raises `StoreDown`.

        An id that another tenant's answer has is refused.
        """
        await self._writer.write(answered)

    async def add_minute(self, rows: Sequence[Minute]) -> None:
        """Store this process's figures so far; a minute stored before is replaced. Raises `StoreDown`."""
        await self._writer.write(rows)

    async def get(self, id: str, tenant: str | None) -> Answered | None:
        """A stored answer, by id; None where there is none of that tenant (None: any tenant's). Raises `StoreDown`."""
        found = await self._read(rows.answer(id, tenant), _answered)
        return found[0] if found else None

    async def recent(self, count: int, tenant: str | None) -> list[Answered]:
        """The newest stored answers, newest first. Raises `StoreDown`."""
        return await self._read(rows.newest(count, tenant), _answered)

    async def history(self, since: float) -> list[Minute]:
        """The minutes that start at `since` (Unix seconds) or later, summed over processes, oldest first."""
        return summed(await self._read(rows.minutes_since(since), rows.minute_of))

    async def close(self) -> None:
        """Write what waits, then let go of the database."""
        await asyncio.to_thread(self._writer.close)
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._database.engine.dispose()

    async def _read(self, query: Select[Any], make: Callable[[Row[Any]], T]) -> list[T]:
        if not self._database.ready:
            raise StoreDown(self.trouble or SILENT)
        try:
            job = asyncio.get_running_loop().run_in_executor(self._readers, self._rows, query, make)
            return await asyncio.wait_for(job, PATIENCE)
        except TimeoutError:
            raise StoreDown(SILENT) from None
        except (SQLAlchemyError, *UNREADABLE) as error:
            raise StoreDown(sentence(error)) from error

    def _rows(self, query: Select[Any], make: Callable[[Row[Any]], T]) -> list[T]:
        try:
            return self._once(query, make)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # A connection that lay unused is told of a restarted server only now.
        return self._once(query, make)

    def _once(self, query: Select[Any], make: Callable[[Row[Any]], T]) -> list[T]:
        with self._database.engine.connect().execution_options(reads=True) as connection:
            return [make(row) for row in connection.execute(query)]


def _answered(row: Row[Any]) -> Answered:
    return answered_of(row._mapping)
