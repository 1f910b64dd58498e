"""The queue against a model of it, in random orders of submissions, locks, decisions and passing time."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from reviewing import Hands, item
from sqlalchemy import delete

from heatbath.policy.review import ReviewDecision
from heatbath.serve.review.queue import StoredReviewQueue
from heatbath.serve.review.stored_review import ReviewQuery
from heatbath.serve.settings import ReviewSettings
from heatbath.serve.storage import open_store
from heatbath.serve.storage.schema import reviews

TIMEOUT, LOCK = 100.0, 30.0
REVIEWERS = st.sampled_from(["ann", "bob", "cy"])
TIMED_OUT = ReviewDecision("reject", "timeout", "nobody decided in time")


@dataclass
class Expected:
    """What an item should be."""

    deadline: float
    holder: str | None = None
    locked_until: float = 0.0
    decision: ReviewDecision | None = None


class Servers:
    """Two queues over one file, with a clock and a loop."""

    def __init__(self) -> None:
        self.hands, self.loop = Hands(), asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        url = f"sqlite:///{Path(self.folder.name) / 'a.db'}"
        self.stores = [open_store(url, **self.hands.options) for _ in range(2)]
        chosen = ReviewSettings(enabled=True, timeout_seconds=TIMEOUT, lock_seconds=LOCK)
        self.queues = [StoredReviewQueue(store, chosen) for store in self.stores]

    def close(self) -> None:
        for store in self.stores:
            self.loop.run_until_complete(store.close())
        self.loop.close()
        self.folder.cleanup()


class ReviewMachine(RuleBasedStateMachine):
    """Two queues over one database, as two servers have them, and what their items should be."""

    ids = Bundle("ids")
    servers: ClassVar[Servers]

    def __init__(self) -> None:
        super().__init__()
        self.hands, self.loop, self.queues = self.servers.hands, self.servers.loop, self.servers.queues
        with self.queues[0]._store._database.engine.begin() as connection:
            connection.execute(delete(reviews))
        self.expected: dict[str, Expected] = {}

    @rule(target=ids, server=st.sampled_from([0, 1]), number=st.integers(0, 9))
    def submit(self, server: int, number: int) -> str:
        id = self.loop.run_until_complete(self.queues[server].submit(item(f"r{number}")))
        self.expected.setdefault(id, Expected(self.hands.wall + TIMEOUT))
        return id

    @rule(id=ids, server=st.sampled_from([0, 1]), reviewer=REVIEWERS, seconds=st.sampled_from([None, 0.0, 5.0]))
    def lock(self, id: str, server: int, reviewer: str, seconds: float | None) -> None:
        change = self.loop.run_until_complete(self.queues[server].lock(id, reviewer, seconds))
        assert change is not None and change.has_succeeded is self._is_free(id, reviewer)
        if change.has_succeeded:
            one, length = self.expected[id], LOCK if seconds is None else seconds
            one.holder, one.locked_until = (reviewer, self.hands.wall + length) if length else (None, 0.0)

    @rule(id=ids, server=st.sampled_from([0, 1]), reviewer=REVIEWERS, action=st.sampled_from(["approve", "edit"]))
    def decide(self, id: str, server: int, reviewer: str, action: str) -> None:
        decision = ReviewDecision(action, reviewer, "", "new" if action == "edit" else None)
        is_free = self._is_free(id, reviewer)
        change = self.loop.run_until_complete(self.queues[server].decide(id, decision))
        assert change is not None and change.has_succeeded is is_free
        if is_free:
            self.expected[id].decision = decision
        assert change.review.decision == self.expected[id].decision

    @rule(seconds=st.sampled_from([1.0, LOCK, TIMEOUT / 2]))
    def pass_time(self, seconds: float) -> None:
        self.hands.run(seconds)
        for one in self.expected.values():
            if one.decision is None and one.deadline <= self.hands.wall:
                one.decision = TIMED_OUT

    @invariant()
    def is_as_expected(self) -> None:
        queue = self.queues[len(self.expected) % 2]
        found = []
        for status in ("pending", "decided"):
            found += self.loop.run_until_complete(queue.list_reviews(ReviewQuery(status, limit=100)))
        assert {each.id: each.decision for each in found} == {id: e.decision for id, e in self.expected.items()}
        for each in found:
            one = self.expected[each.id]
            is_held = one.decision is None and one.locked_until > self.hands.wall
            assert each.find_holder(self.hands.wall) == (one.holder if is_held else None)

    def _is_free(self, id: str, reviewer: str) -> bool:
        one = self.expected[id]
        return one.decision is None and (one.holder in (None, reviewer) or one.locked_until <= self.hands.wall)


class TestReviewStates(ReviewMachine.TestCase):
    """The machine, with servers for all of its examples."""

    settings = settings(max_examples=12, stateful_step_count=25, deadline=None)

    @classmethod
    def setUpClass(cls) -> None:
        ReviewMachine.servers = Servers()

    @classmethod
    def tearDownClass(cls) -> None:
        ReviewMachine.servers.close()
