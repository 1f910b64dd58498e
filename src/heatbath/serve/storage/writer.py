"""One thread that writes: what waits goes into one transaction, and each waiter hears when that is committed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from heatbath.serve.base import Answered, StoreDown
from heatbath.serve.storage import rows
from heatbath.serve.storage.codec import body_of, row_of
from heatbath.serve.storage.database import Database
from heatbath.serve.storage.minutes import Minute
from heatbath.serve.storage.trouble import CLOSED, FULL_QUEUE, SILENT, of_the_row, passing, sentence

# Seconds that a waiter waits; after that the database is taken for silent.
PATIENCE = 5.0
_TRIES_FOR = 2.0
_PROBE_EVERY = 1.0
_TIDY_EVERY = 60.0
# A server that is never idle must delete all the same.
_TIDY_AT_LAST = 600.0
_ROOM = 1024
_BATCH = 256
_EXPIRED = 500


@dataclass(eq=False)
class Job:
    """Something to be written, and who waits for it."""

    work: Answered | Sequence[Minute]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]
    dropped: bool = False
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> rows.Key | None:
        """Id and tenant of an answer."""
        return (self.row["id"], self.row["tenant"]) if self.row else None


@dataclass(frozen=True)
class Terms:
    """What is kept: `days` long, with its `content` or not; `clock` gives Unix seconds, `instance` this process."""

    days: float
    content: bool
    instance: str
    clock: Callable[[], float]


class Clock:
    """Time that never runs ahead of what has passed since the start, and never goes back behind what was stored.

    An answer can so be deleted late when the clock of the machine was wrong, but not early.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._offset = wall() - time.monotonic()
        self.floor = 0.0

    def now(self) -> float:
        """Unix seconds; less than the clock of the machine after it was set forward."""
        return min(self._wall(), self._offset + time.monotonic())

    def stamp(self) -> float:
        """The time to store."""
        self.floor = max(self.floor, self.now())
        return self.floor


class Writer:
    """The thread and its queue. `trouble` says what is wrong with the database, None if nothing is."""

    def __init__(self, database: Database, terms: Terms, trouble: str | None) -> None:
        self.trouble = trouble
        self._database = database
        self._terms = terms
        self._clock = Clock(terms.clock)
        self._known = False
        self._tidied = float("-inf")
        self._queue: deque[Job] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="heatbath-storage", daemon=True)
        self._thread.start()

    async def write(self, work: Answered | Sequence[Minute]) -> None:
        """Wait until it has been committed. Raises `StoreDown`, after `PATIENCE` at the latest."""
        loop = asyncio.get_running_loop()
        job = Job(work, loop, loop.create_future())
        self._submit(job)
        try:
            # Whoever waits may give up; what was taken is written all the same.
            await asyncio.wait_for(asyncio.shield(job.done), PATIENCE)
        except TimeoutError:
            job.dropped = True
            self.trouble = self.trouble or SILENT
            raise StoreDown(self.trouble) from None

    def close(self) -> None:
        """Write what waits, then end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(2 * PATIENCE)

    def _submit(self, job: Job) -> None:
        with self._wake:
            refusal = CLOSED if self._closed else self.trouble
            if refusal is None and len(self._queue) >= _ROOM:
                refusal = FULL_QUEUE
            if refusal is not None:
                raise StoreDown(refusal)
            self._queue.append(job)
            self._wake.notify()

    def _run(self) -> None:
        while (jobs := self._take()) is not None:
            if jobs:
                self._store(jobs)
            elif self.trouble is not None:
                self._probe()
            if self.trouble is None:
                self._tidy(idle=not self._queue)

    def _take(self) -> list[Job] | None:
        """What waits, nothing after a second in which nothing came, None when closed."""
        with self._wake:
            if not self._queue and not self._closed:
                self._wake.wait(_PROBE_EVERY)
            if not self._queue and self._closed:
                return None
            taken = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
        return [job for job in taken if not job.dropped]

    def _store(self, jobs: Sequence[Job]) -> None:
        try:
            for job in jobs:
                self._encode(job)
            taken = self._commit(jobs)
        except Exception as error:
            self._failed(jobs, error)
        else:
            self.trouble = None
            _settle([job for job in jobs if job.key not in taken], None)
            _settle([job for job in jobs if job.key in taken], "The id of this answer is taken: send another.")

    def _failed(self, jobs: Sequence[Job], error: Exception) -> None:
        if not of_the_row(error):
            self._down(error)
            _settle(jobs, self.trouble)
        elif len(jobs) == 1:
            _settle(jobs, "This answer cannot be stored: it holds something that a database has no place for.")
        else:
            for job in jobs:
                self._store([job])

    def _encode(self, job: Job) -> None:
        if isinstance(job.work, Answered) and not job.row:
            job.row = row_of(job.work) | {"body": body_of(job.work) if self._terms.content else None}

    def _commit(self, jobs: Sequence[Job]) -> set[rows.Key]:
        """Commit in one transaction, and again where a lost connection leaves open whether it was."""
        until = time.monotonic() + _TRIES_FOR
        while True:
            try:
                taken = self._transaction(jobs)
                self._database.present()
                return taken
            except SQLAlchemyError as error:
                if not passing(error) or time.monotonic() > until:
                    raise
                self._database.engine.dispose()
                time.sleep(0.1)

    def _transaction(self, jobs: Sequence[Job]) -> set[rows.Key]:
        with self._database.engine.begin() as connection:
            if not self._known:
                self._clock.floor = max(self._clock.floor, rows.last_stored(connection))
                self._known = True
            for job in jobs:
                if isinstance(job.work, Answered):
                    job.row["stored"] = self._clock.stamp()
                elif job.work:
                    rows.upsert_minutes(connection, self._terms.instance, job.work)
            answers = [job.row for job in jobs if job.row]
            return rows.insert_answers(connection, answers) if answers else set()

    def _probe(self) -> None:
        try:
            self._database.ensure()
            rows.write_and_erase(self._database.engine, self._terms.instance)
            self._database.present()
        except Exception as error:
            self._down(error)
        else:
            self.trouble = None

    def _down(self, error: Exception) -> None:
        self.trouble = sentence(error)
        self._known = False
        self._database.engine.dispose()

    def _tidy(self, *, idle: bool) -> None:
        """Delete what is old, a little at a time."""
        now = time.monotonic()
        if now < self._tidied + (_TIDY_EVERY if idle else _TIDY_AT_LAST):
            return
        before = self._clock.now() - 86_400 * self._terms.days
        try:
            with self._database.engine.begin() as connection:
                gone = rows.expire(connection, before, _EXPIRED)
        except Exception as error:
            # Of processes that delete at once one may be turned away; another does its work.
            if not passing(error):
                self._down(error)
            gone = 0
        if gone < _EXPIRED:
            self._tidied = now


def _settle(jobs: Sequence[Job], refusal: str | None) -> None:
    """Tell those who wait, each event loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, members in loops.items():
        # A loop that has ended has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_tell, members, refusal)


def _tell(jobs: Sequence[Job], refusal: str | None) -> None:
    for job in jobs:
        if job.done.done():
            continue
        if refusal is None:
            job.done.set_result(None)
        elif not job.dropped:
            job.done.set_exception(StoreDown(refusal))
