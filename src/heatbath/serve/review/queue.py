"""The review queue over the server's database: any number of servers share it, and each item is decided once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from heatbath.errors import BadInput
from heatbath.policy.review import ReviewDecision, ReviewItem
from heatbath.serve.interfaces import StoreUnavailable
from heatbath.serve.openai.review_release import find_replacer
from heatbath.serve.review.stored_review import ReviewQuery, ReviewSummary, StoredReview
from heatbath.serve.settings import ReviewSettings
from heatbath.serve.storage import review_queries as queries
from heatbath.serve.storage.retention import MonotonicClock
from heatbath.serve.storage.review_edits import ReviewEdit, ReviewExpiry, ReviewLock, ReviewSubmission
from heatbath.serve.storage.store import SqlStore

POLL_SECONDS = 0.2
"""Seconds between looks at the database while somebody waits: another server may have taken the decision."""
_EXPIRY_SECONDS = 1.0


@dataclass(frozen=True)
class ReviewChange:
    """The result of a lock or a decision: whether it holds, and the item as it is now."""

    has_succeeded: bool
    review: StoredReview


class StoredReviewQueue:
    """A `ReviewQueue` in the database of a store. `rng` draws which of the answers that pass are sent too."""

    def __init__(self, store: SqlStore, settings: ReviewSettings, rng: random.Random | None = None) -> None:
        self.settings = settings
        self._store = store
        self._clock = MonotonicClock(store.config.clock, store.config.monotonic)
        self._rng = rng or random.SystemRandom()
        self._waiters: dict[str, set[asyncio.Future[ReviewDecision]]] = {}
        self._poller: asyncio.Task[None] | None = None

    def current_time(self) -> float:
        """Return the time by which deadlines and locks end, in Unix seconds."""
        return self._clock.current_time()

    def draw_passing(self) -> bool:
        """Return whether an answer that passes is to be sent too, which is so with the probability `random_share`."""
        return self._rng.random() < self.settings.random_share

    async def submit(self, item: ReviewItem) -> str:
        """Store an item durably and return its id; a choice of a request that is there already keeps its own.

        Raises:
            BadInput: the probability is not in (0, 1], or text of the payload cannot be replaced.
            StoreUnavailable: it is not known to be stored.
        """
        if not 0.0 < item.probability <= 1.0:
            raise BadInput(f"probability is {item.probability}: give the one of sending, above 0 and at most 1.")
        find_replacer(item.payload)
        deadline = self.current_time() + self.settings.timeout_seconds
        weight = min(1.0, self.settings.random_share / item.probability)
        is_kept = item.keep_content and self._store.config.keep_content
        submission = ReviewSubmission(item, deadline, weight, is_kept)
        await self._store.apply_edit(submission)
        return submission.found

    async def wait(self, item_id: str, seconds: float) -> ReviewDecision | None:
        """Return the decision on an item, None if there is none within `seconds`, or no such item.

        It is learned within `POLL_SECONDS` where another server took it, and while the database is down not at all.
        """
        future: asyncio.Future[ReviewDecision] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(item_id, set()).add(future)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return None
        finally:
            waiters = self._waiters[item_id]
            waiters.discard(future)
            if not waiters:
                del self._waiters[item_id]

    async def find(self, id: str, tenant: str | None = None) -> StoredReview | None:
        """Return an item, None if the tenant has none of that id (None: any tenant). Raises `StoreUnavailable`."""
        await self.expire()
        found = await self._store.run_query(queries.select_review(id, tenant), queries.review_from_row)
        return found[0] if found else None

    async def list_of_request(self, request_id: str, tenant: str) -> list[StoredReview]:
        """Return all items of a request by their choice. Raises `StoreUnavailable`."""
        return await self._store.run_query(queries.select_of_request(request_id, tenant), queries.review_from_row)

    async def list_reviews(self, query: ReviewQuery) -> list[StoredReview]:
        """Return the items that `query` asks for. Raises `StoreUnavailable`."""
        await self.expire()
        return await self._store.run_query(queries.select_reviews(query), queries.review_from_row)

    async def lock(self, id: str, reviewer: str, seconds: float | None = None) -> ReviewChange | None:
        """Give a reviewer an item for `seconds` (None: those of the settings; 0: give it up); None without such item.

        Raises:
            StoreUnavailable: it is not known to be locked.
        """
        now = self.current_time()
        seconds = self.settings.lock_seconds if seconds is None else seconds
        edit = ReviewLock(id, reviewer, now + seconds if seconds > 0 else None, self._build_expiry(now))
        await self._store.apply_edit(edit)
        return None if edit.found is None else ReviewChange(edit.has_succeeded, edit.found)

    async def decide(self, id: str, decision: ReviewDecision) -> ReviewChange | None:
        """Decide an item, unless it is decided or another reviewer has it; None without such item.

        Raises:
            StoreUnavailable: it is not known to be decided.
        """
        edit = ReviewEdit(id, decision, self._build_expiry(self.current_time()))
        await self._store.apply_edit(edit)
        if edit.found is None:
            return None
        self._notify([edit.found])
        return ReviewChange(edit.has_succeeded, edit.found)

    async def expire(self) -> None:
        """Give items whose deadline has passed the default decision. Raises `StoreUnavailable`."""
        now = self.current_time()
        while await self._store.run_query(queries.select_overdue(now), tuple):
            await self._store.apply_edit(self._build_expiry(now))

    async def summarize(self) -> ReviewSummary:
        """Return the state of the queue. Raises `StoreUnavailable`."""
        now = self.current_time()
        pending = (await self._store.run_query(queries.select_pending_summary(now), lambda row: row))[0]
        counts = await self._store.run_query(queries.select_decision_counts(), lambda row: (row.kind, row.number))
        oldest = None if pending.oldest is None else max(0.0, now - pending.oldest)
        return ReviewSummary(pending.pending, pending.locked, oldest, dict(counts))

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Let deadlines pass while the block runs, whether anybody waits or not."""
        task = asyncio.create_task(self._expire_always())
        try:
            yield
        finally:
            tasks = [task, *([] if self._poller is None else [self._poller])]
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _build_expiry(self, now: float) -> ReviewExpiry:
        return ReviewExpiry(now, self.settings.default_action)

    async def _expire_always(self) -> None:
        while True:
            with contextlib.suppress(StoreUnavailable):
                await self.expire()
            await asyncio.sleep(_EXPIRY_SECONDS)

    async def _poll(self) -> None:
        """Look for decisions on the items that are waited for, until none is."""
        while self._waiters:
            with contextlib.suppress(StoreUnavailable):
                await self.expire()
                self._notify(await self._find_decided(tuple(self._waiters)))
            await asyncio.sleep(POLL_SECONDS)

    async def _find_decided(self, ids: Collection[str]) -> list[StoredReview]:
        return await self._store.run_query(queries.select_decided(ids), queries.review_from_row)

    def _notify(self, reviews: Sequence[StoredReview]) -> None:
        for review in reviews:
            for future in self._waiters.get(review.id, ()):
                if review.decision is not None and not future.done():
                    future.set_result(review.decision)
