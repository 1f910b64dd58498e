"""The writing thread: queued jobs go into one transaction, and each waiter is notified when that is committed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from heatbath.serve.interfaces import RequestOutcome, StoreUnavailable
from heatbath.serve.storage import queries
from heatbath.serve.storage.database import Database
from heatbath.serve.storage.db_errors import (
    NOT_RESPONDING,
    QUEUE_FULL,
    STORE_CLOSED,
    DatabaseFileMissing,
    classify_db_error,
    is_row_error,
    is_transient,
)
from heatbath.serve.storage.edits import Edit
from heatbath.serve.storage.minutes import Minute
from heatbath.serve.storage.retention import MonotonicClock, RetentionClock
from heatbath.serve.storage.review_edits import ReviewSubmission, label_reviewed_answers
from heatbath.serve.storage.review_queries import delete_expired_reviews
from heatbath.serve.storage.row_codec import encode_body, encode_confidences, encode_labels, to_row

# Seconds that a waiter waits; after that the database counts as not responding.
WRITE_TIMEOUT = 5.0
_RETRY_SECONDS = 2.0
_PROBE_INTERVAL = 1.0
_CLEANUP_INTERVAL = 60.0
# A server that is never idle has to delete too.
_MAX_CLEANUP_INTERVAL = 600.0
_MAX_QUEUED = 1024
_BATCH_SIZE = 256
_MAX_DELETED = 500


Payload = RequestOutcome | Sequence[Minute] | Edit


@dataclass(eq=False)
class WriteJob:
    """An outcome, minutes or an edit to be written, and the future that waits for it.

    `has_changed` says whether an edit has found its outcome, at the first commit if the outcome of that is unknown.
    """

    payload: Payload
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[bool]
    is_cancelled: bool = False
    has_changed: bool = False
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> queries.AnswerKey | None:
        """Id and tenant of an outcome."""
        return (self.row["id"], self.row["tenant"]) if self.row else None


@dataclass(frozen=True)
class StoreConfig:
    """Retention: so many `days`, with content or not; `instance` names this process.

    `clock` gives Unix seconds, and `monotonic` seconds that no one sets.
    """

    days: float
    keep_content: bool
    instance: str
    clock: Callable[[], float]
    monotonic: Callable[[], float] = time.monotonic


class StorageWriter:
    """The thread and its queue. `unavailable_reason` says what is wrong with the database, None if nothing is."""

    def __init__(self, database: Database, config: StoreConfig, unavailable_reason: str | None) -> None:
        self.unavailable_reason = unavailable_reason
        self._database = database
        self._config = config
        self._clock = MonotonicClock(config.clock, config.monotonic)
        self._retention = RetentionClock(config.clock, config.monotonic)
        self._is_floor_loaded = False
        self._last_cleanup = float("-inf")
        self._queue: deque[WriteJob] = deque()
        self._condition = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="heatbath-storage", daemon=True)
        self._thread.start()

    async def write(self, payload: Payload) -> bool:
        """Wait until `payload` has been committed; return whether it is an edit that has found its outcome.

        Raises:
            StoreUnavailable: it is not known to be committed, after `WRITE_TIMEOUT` at the latest.
        """
        loop = asyncio.get_running_loop()
        job = WriteJob(payload, loop, loop.create_future())
        with self._condition:
            refusal = STORE_CLOSED if self._is_closed else self.unavailable_reason
            if refusal is None and len(self._queue) >= _MAX_QUEUED:
                refusal = QUEUE_FULL
            if refusal is not None:
                raise StoreUnavailable(refusal)
            self._queue.append(job)
            self._condition.notify()
        try:
            # The waiter may be cancelled; the job is written nevertheless.
            return await asyncio.wait_for(asyncio.shield(job.future), WRITE_TIMEOUT)
        except TimeoutError:
            job.is_cancelled = True
            self.unavailable_reason = self.unavailable_reason or NOT_RESPONDING
            raise StoreUnavailable(self.unavailable_reason) from None

    def close(self) -> None:
        """Write what is queued, then end the thread."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()
        self._thread.join(2 * WRITE_TIMEOUT)

    def _run(self) -> None:
        while (jobs := self._take_batch()) is not None:
            if jobs:
                self._store_batch(jobs)
            elif self.unavailable_reason is not None:
                self._probe_database()
            else:
                self._validate_file()
            if self.unavailable_reason is None:
                self._delete_expired(idle=not self._queue)

    def _take_batch(self) -> list[WriteJob] | None:
        """Return the queued jobs, none after a second without any, None when closed."""
        with self._condition:
            if not self._queue and not self._is_closed:
                self._condition.wait(_PROBE_INTERVAL)
            if not self._queue and self._is_closed:
                return None
            batch = [self._queue.popleft() for _ in range(min(_BATCH_SIZE, len(self._queue)))]
        return [job for job in batch if not job.is_cancelled]

    def _store_batch(self, jobs: Sequence[WriteJob]) -> None:
        try:
            for job in jobs:
                self._encode_job(job)
            conflicts = self._commit_batch(jobs)
        except Exception as error:
            self._handle_failure(jobs, error)
        else:
            self.unavailable_reason = None
            _resolve_jobs([job for job in jobs if job.key not in conflicts], None)
            _resolve_jobs(
                [job for job in jobs if job.key in conflicts], "The id of this response is taken: send another."
            )

    def _handle_failure(self, jobs: Sequence[WriteJob], error: Exception) -> None:
        if not is_row_error(error):
            self._mark_unavailable(error)
            _resolve_jobs(jobs, self.unavailable_reason)
        elif len(jobs) == 1:
            _resolve_jobs(jobs, "This response cannot be stored: it holds a value that the database cannot represent.")
        else:
            for job in jobs:
                self._store_batch([job])

    def _encode_job(self, job: WriteJob) -> None:
        if isinstance(job.payload, RequestOutcome) and not job.row:
            body = encode_body(job.payload) if self._config.keep_content else None
            job.row = {
                **to_row(job.payload),
                "body": body,
                "labels": encode_labels(job.payload.request.settings.get("metadata")),
                "confidences": encode_confidences(job.payload),
            }

    def _commit_batch(self, jobs: Sequence[WriteJob]) -> set[queries.AnswerKey]:
        """Commit in one transaction; commit again where a lost connection leaves the outcome unknown."""
        until = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                conflicts = self._run_transaction(jobs)
                self._database.ensure_present()
                return conflicts
            except SQLAlchemyError as error:
                if not is_transient(error) or time.monotonic() > until:
                    raise
                self._database.engine.dispose()
                time.sleep(0.1)

    def _run_transaction(self, jobs: Sequence[WriteJob]) -> set[queries.AnswerKey]:
        with self._database.engine.begin() as connection:
            if not self._is_floor_loaded:
                self._clock.floor = max(self._clock.floor, queries.read_last_time(connection))
                self._is_floor_loaded = True
            for job in sorted(jobs, key=_lock_order):
                if isinstance(job.payload, RequestOutcome):
                    job.row["stored"] = self._clock.next_timestamp()
                elif isinstance(job.payload, ReviewSubmission):
                    job.payload.stored_at = self._clock.next_timestamp()
                    job.has_changed |= job.payload.apply(connection)
                elif isinstance(job.payload, Edit):
                    job.has_changed |= job.payload.apply(connection)
                elif job.payload:
                    queries.upsert_minutes(connection, self._config.instance, job.payload)
            answers = [job.row for job in jobs if job.row]
            conflicts = queries.insert_answers(connection, answers) if answers else set()
            if measured := [row["id"] for row in answers if row["confidences"]]:
                label_reviewed_answers(connection, measured)
            return conflicts

    def _probe_database(self) -> None:
        try:
            self._database.ensure_ready()
            queries.probe_write(self._database.engine, self._config.instance)
            self._database.ensure_present()
        except Exception as error:
            self._mark_unavailable(error)
        else:
            self.unavailable_reason = None

    def _validate_file(self) -> None:
        """Notice a file that was moved or replaced while nothing is written."""
        try:
            self._database.ensure_present()
        except DatabaseFileMissing as error:
            self._mark_unavailable(error)

    def _mark_unavailable(self, error: Exception) -> None:
        self.unavailable_reason = classify_db_error(error).message
        self._is_floor_loaded = False
        self._database.engine.dispose()

    def _delete_expired(self, *, idle: bool) -> None:
        """Delete expired outcomes, some at a time."""
        now = time.monotonic()
        if now < self._last_cleanup + (_CLEANUP_INTERVAL if idle else _MAX_CLEANUP_INTERVAL):
            return
        try:
            with self._database.engine.begin() as connection:
                gone = self._delete_before_horizon(connection)
        except Exception as error:
            # Of processes that delete at once one may be refused; another one deletes.
            if not is_transient(error):
                self._mark_unavailable(error)
            gone = 0
        if gone < _MAX_DELETED:
            self._last_cleanup = now

    def _delete_before_horizon(self, connection: Connection) -> int:
        time_ = self._retention.advance(*queries.read_retention(connection))
        queries.write_retention(connection, time_)
        # A row that is written now may not be older than the horizon, should the clock of the machine go back.
        self._clock.floor = max(self._clock.floor, time_)
        horizon = time_ - 86_400 * self._config.days
        delete_expired_reviews(connection, time_, horizon)
        return queries.delete_expired(connection, horizon, _MAX_DELETED)


def _lock_order(job: WriteJob) -> str:
    return job.payload.lock_order if isinstance(job.payload, Edit) else ""


def _resolve_jobs(jobs: Sequence[WriteJob], refusal: str | None) -> None:
    """Notify the waiters, with one call for each event loop."""
    loops: dict[asyncio.AbstractEventLoop, list[WriteJob]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, members in loops.items():
        # Nothing waits on a loop that has ended.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve_futures, members, refusal)


def _resolve_futures(jobs: Sequence[WriteJob], refusal: str | None) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if refusal is None:
            job.future.set_result(job.has_changed)
        elif not job.is_cancelled:
            job.future.set_exception(StoreUnavailable(refusal))
