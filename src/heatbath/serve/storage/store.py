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
from heatbath.serve.interfaces import RequestOutcome, StoreUnavailable
from heatbath.serve.storage import queries
from heatbath.serve.storage.database import Database
from heatbath.serve.storage.db_errors import (
    NOT_RESPONDING,
    UNREADABLE_ERRORS,
    DatabaseUnusable,
    describe_db_error,
    is_permanent,
)
from heatbath.serve.storage.minutes import Minute, merge_minutes
from heatbath.serve.storage.row_codec import from_row
from heatbath.serve.storage.writer import WRITE_TIMEOUT, StorageWriter, StoreConfig

T = TypeVar("T")
_NUM_READERS = 4


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
    except (SQLAlchemyError, sqlite3.Error, DatabaseUnusable) as error:
        trouble = describe_db_error(error)
        database.engine.dispose()
        if isinstance(error, DatabaseUnusable) or is_permanent(error):
            raise DatabaseUnusable(trouble) from None
    return SqlStore(database, StoreConfig(days, content, uuid.uuid4().hex, clock), trouble)


class SqlStore:
    """A `serve.base.Store` and `History`; `open_store` makes one. Any number of processes may share a database."""

    def __init__(self, database: Database, config: StoreConfig, unavailable_reason: str | None) -> None:
        self._database = database
        self._writer = StorageWriter(database, config, unavailable_reason)
        self._readers = ThreadPoolExecutor(_NUM_READERS, thread_name_prefix="heatbath-storage")

    @property
    def unavailable_reason(self) -> str | None:
        """One sentence on what is down, None if nothing is."""
        return self._writer.unavailable_reason

    async def save(self, outcome: RequestOutcome) -> None:
        """Store durably: when it returns, a crash loses nothing. Twice the same id stores once. Raises `StoreDown`.

        An id that another tenant's answer has is refused.
        """
        await self._writer.write(outcome)

    async def write_minutes(self, rows: Sequence[Minute]) -> None:
        """Store this process's figures so far; a minute stored before is replaced. Raises `StoreDown`."""
        await self._writer.write(rows)

    async def get(self, id: str, tenant: str | None) -> RequestOutcome | None:
        """A stored answer, by id; None where there is none of that tenant (None: any tenant's). Raises `StoreDown`."""
        found = await self._run_query(queries.select_answer(id, tenant), _outcome_from_row)
        return found[0] if found else None

    async def list_recent(self, count: int, tenant: str | None) -> list[RequestOutcome]:
        """The newest stored answers, newest first. Raises `StoreDown`."""
        return await self._run_query(queries.select_newest(count, tenant), _outcome_from_row)

    async def read_minutes(self, since: float) -> list[Minute]:
        """The minutes that start at `since` (Unix seconds) or later, summed over processes, oldest first."""
        return merge_minutes(await self._run_query(queries.select_minutes_since(since), queries.minute_from_row))

    async def close(self) -> None:
        """Write what waits, then let go of the database."""
        await asyncio.to_thread(self._writer.close)
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._database.engine.dispose()

    async def _run_query(self, query: Select[Any], convert: Callable[[Row[Any]], T]) -> list[T]:
        if not self._database.is_ready:
            raise StoreUnavailable(self.unavailable_reason or NOT_RESPONDING)
        try:
            job = asyncio.get_running_loop().run_in_executor(self._readers, self._fetch_rows, query, convert)
            return await asyncio.wait_for(job, WRITE_TIMEOUT)
        except TimeoutError:
            raise StoreUnavailable(NOT_RESPONDING) from None
        except (SQLAlchemyError, *UNREADABLE_ERRORS) as error:
            raise StoreUnavailable(describe_db_error(error)) from error

    def _fetch_rows(self, query: Select[Any], convert: Callable[[Row[Any]], T]) -> list[T]:
        try:
            return self._fetch_once(query, convert)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # A connection that lay unused is told of a restarted server only now.
        return self._fetch_once(query, convert)

    def _fetch_once(self, query: Select[Any], convert: Callable[[Row[Any]], T]) -> list[T]:
        with self._database.engine.connect().execution_options(reads=True) as connection:
            return [convert(row) for row in connection.execute(query)]


def _outcome_from_row(row: Row[Any]) -> RequestOutcome:
    return from_row(row._mapping)
