"""A store of outcomes and minutes in SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Row, Select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from heatbath.errors import BadInput
from heatbath.serve.interfaces import AnswerConfidence, AnswerQuery, RequestOutcome, StoreUnavailable
from heatbath.serve.storage import queries
from heatbath.serve.storage.database import Database
from heatbath.serve.storage.db_errors import (
    NOT_RESPONDING,
    UNREADABLE_ERRORS,
    DatabaseFileMissing,
    DatabaseUnusable,
    classify_db_error,
)
from heatbath.serve.storage.edits import AnswerEdit, Edit, LabelEdit
from heatbath.serve.storage.minutes import Minute, merge_minutes
from heatbath.serve.storage.row_codec import from_row
from heatbath.serve.storage.writer import WRITE_TIMEOUT, StorageWriter, StoreConfig

T = TypeVar("T")
_NUM_READERS = 4


def open_store(
    url: str,
    *,
    days: float = 30.0,
    content: bool = True,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> SqlStore:
    """Open the store at `url`: `sqlite:///FILE`, created if missing, or `postgresql+psycopg://…`.

    Outcomes older than `days` are deleted, by a clock that does not follow a jump of the machine's (`RetentionClock`);
    without `content` only the columns are kept. A database that cannot be reached now is tried again every second, and
    until then is the store's `unavailable_reason`.

    Raises:
        BadInput: the URL names no database, or `days` is not positive.
        MissingExtra: PostgreSQL without its driver.
        DatabaseUnusable: the database is damaged, of a newer schema, or not writable.
    """
    if not days > 0:
        raise BadInput(f"days is {days}: give a number above 0.")
    database = Database(url)
    unavailable_reason = None
    try:
        database.prepare()
    except (SQLAlchemyError, sqlite3.Error, DatabaseUnusable) as error:
        problem = classify_db_error(error)
        database.engine.dispose()
        if problem.permanent:
            raise DatabaseUnusable(problem.message) from None
        unavailable_reason = problem.message
    return SqlStore(database, StoreConfig(days, content, uuid.uuid4().hex, clock, monotonic), unavailable_reason)


class SqlStore:
    """A `Store` and `MinuteStore`; `open_store` makes one. Any number of processes may share a database."""

    def __init__(self, database: Database, config: StoreConfig, unavailable_reason: str | None) -> None:
        self._database, self._config = database, config
        self._writer = StorageWriter(database, config, unavailable_reason)
        self._readers = ThreadPoolExecutor(_NUM_READERS, thread_name_prefix="heatbath-storage")

    @property
    def unavailable_reason(self) -> str | None:
        """One sentence on why it cannot be written, None if it can."""
        return self._writer.unavailable_reason

    @property
    def config(self) -> StoreConfig:
        """Retention, whether content is kept, and the clocks."""
        return self._config

    async def save(self, outcome: RequestOutcome) -> None:
        """Store durably: when it returns, a crash loses nothing. The same id twice stores once.

        Raises:
            StoreUnavailable: nothing was stored, as for an id that another tenant has.
        """
        await self._writer.write(outcome)

    async def write_minutes(self, rows: Sequence[Minute]) -> None:
        """Store this process's figures so far, in place of those stored before. Raises `StoreUnavailable`."""
        await self._writer.write(rows)

    async def get(self, id: str, tenant: str | None) -> RequestOutcome | None:
        """Return a stored outcome; None if the tenant has none of that id (tenant None: any tenant).

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        outcomes = await self.run_query(queries.select_answer(id, tenant), _outcome_from_row)
        return outcomes[0] if outcomes else None

    async def list_answers(self, query: AnswerQuery) -> list[RequestOutcome]:
        """Return the outcomes that `query` asks for. Raises `StoreUnavailable`."""
        return await self.run_query(queries.select_page(query), _outcome_from_row)

    async def update_metadata(self, id: str, tenant: str, metadata: Mapping[str, str]) -> bool:
        """Replace the metadata of an outcome durably; False if the tenant has stored no content of that id.

        Raises:
            StoreUnavailable: it is not known to be changed.
        """
        return await self._writer.write(AnswerEdit(id, tenant, metadata))

    async def delete_content(self, id: str, tenant: str) -> bool:
        """Delete content, records, metadata and settings of an outcome durably; its figures stay until they expire.

        Returns False if the tenant has stored no content of that id.

        Raises:
            StoreUnavailable: it is not known to be deleted.
        """
        return await self._writer.write(AnswerEdit(id, tenant))

    async def label_choice(self, id: str, tenant: str, choice: int, *, is_right: bool) -> AnswerConfidence | None:
        """Store durably whether a choice is right, in place of an earlier label; return the choice as it was before.

        None if the tenant has stored no confidence of that choice; one that was withheld takes no label.

        Raises:
            StoreUnavailable: it is not known to be stored.
        """
        edit = LabelEdit(id, tenant, choice, is_right, time.time())
        await self._writer.write(edit)
        return edit.before

    async def list_confidences(self, calibrator: str, limit: int) -> list[tuple[str, AnswerConfidence]]:
        """Return the newest confidences by a calibrator with the ids of their answers, oldest first.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        query = queries.select_confidences(calibrator, limit)
        return (await self.run_query(query, queries.confidence_from_row))[::-1]

    async def list_recent(self, count: int, tenant: str | None) -> list[RequestOutcome]:
        """Return the newest stored outcomes, newest first. Raises `StoreUnavailable`."""
        return await self.run_query(queries.select_newest(count, tenant), _outcome_from_row)

    async def read_minutes(self, since: float) -> list[Minute]:
        """Return the minutes that start at `since` (Unix seconds) or later, summed over processes, oldest first."""
        return merge_minutes(await self.run_query(queries.select_minutes_since(since), queries.minute_from_row))

    async def apply_edit(self, edit: Edit) -> bool:
        """Run a change durably; return whether it found what it changes.

        Raises:
            StoreUnavailable: it is not known to be made.
        """
        return await self._writer.write(edit)

    async def close(self) -> None:
        """Write what is queued, then close the database."""
        await asyncio.to_thread(self._writer.close)
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._database.close()

    async def run_query(self, query: Select[Any], convert: Callable[[Row[Any]], T]) -> list[T]:
        """Return the rows of a query, each by `convert`, in a thread. Raises `StoreUnavailable`."""
        if not self._database.is_ready:
            raise StoreUnavailable(self.unavailable_reason or NOT_RESPONDING)
        try:
            job = asyncio.get_running_loop().run_in_executor(self._readers, self._fetch_rows, query, convert)
            return await asyncio.wait_for(job, WRITE_TIMEOUT)
        except TimeoutError:
            raise StoreUnavailable(NOT_RESPONDING) from None
        except (SQLAlchemyError, DatabaseFileMissing, *UNREADABLE_ERRORS) as error:
            raise StoreUnavailable(classify_db_error(error).message) from error

    def _fetch_rows(self, query: Select[Any], convert: Callable[[Row[Any]], T]) -> list[T]:
        try:
            return self._fetch_once(query, convert)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        # An idle connection notices a restarted server only now.
        return self._fetch_once(query, convert)

    def _fetch_once(self, query: Select[Any], convert: Callable[[Row[Any]], T]) -> list[T]:
        with self._database.engine.connect().execution_options(reads=True) as connection:
            return [convert(row) for row in connection.execute(query)]


def _outcome_from_row(row: Row[Any]) -> RequestOutcome:
    return from_row(row._mapping)
