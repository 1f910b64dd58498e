"""Changes of the review queue, run inside a transaction of the writing thread."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import Connection, Update, update

from heatbath.policy.review import ReviewDecision, ReviewItem
from heatbath.serve.review.stored_review import StoredReview
from heatbath.serve.storage.edits import Edit, LabelEdit
from heatbath.serve.storage.review_queries import (
    edit_text,
    expire_overdue,
    insert_review,
    review_from_row,
    select_of_requests,
    select_review,
)
from heatbath.serve.storage.row_codec import clean_text
from heatbath.serve.storage.schema import reviews


@dataclass
class ReviewSubmission(Edit):
    """A new item. `found` is its id, or that of the item that this choice of the request already has."""

    item: ReviewItem
    deadline: float
    weight: float
    is_kept: bool
    stored_at: float = 0.0
    id: str = field(default_factory=lambda: f"rev_{uuid.uuid4().hex}")
    found: str = ""

    def apply(self, connection: Connection) -> bool:
        """Insert it."""
        row = {
            "id": self.id,
            "stored": self.stored_at,
            "deadline": self.deadline,
            "weight": self.weight,
            "kept": self.is_kept,
        }
        self.found = insert_review(connection, row, self.item)
        return True


@dataclass
class ReviewExpiry(Edit):
    """The default decision on items whose deadline has passed at `now`."""

    now: float
    default_action: str

    def apply(self, connection: Connection) -> bool:
        """Decide them; False if there are none."""
        return expire_overdue(connection, self.now, self.default_action) > 0


@dataclass
class ReviewLock(Edit):
    """A reviewer's lock on an item until a time, None to give it up; `found` is the item as it is then.

    Nothing changes where another reviewer has it, or where it is decided.
    """

    id: str
    reviewer: str
    until: float | None
    expiry: ReviewExpiry
    found: StoredReview | None = None
    has_succeeded: bool = False

    @property
    def lock_order(self) -> str:
        """The id of the item."""
        return self.id

    def apply(self, connection: Connection) -> bool:
        """Lock it; False if there is no such item."""
        self.expiry.apply(connection)
        holder = None if self.until is None else clean_text(self.reviewer)
        free = _select_free(self.id, self.reviewer, self.expiry.now)
        self.has_succeeded = connection.execute(free.values(holder=holder, locked_until=self.until)).rowcount == 1
        row = connection.execute(select_review(self.id)).first()
        self.found = None if row is None else review_from_row(row)
        return row is not None


@dataclass
class ReviewEdit(Edit):
    """A reviewer's decision on an item; `found` is the item as it is then, with an earlier decision if there is one.

    Nothing changes where another reviewer has it, or where it is decided. The label of its choice is stored with it.
    """

    id: str
    decision: ReviewDecision
    expiry: ReviewExpiry
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)
    found: StoredReview | None = None
    has_succeeded: bool = False

    @property
    def lock_order(self) -> str:
        """The id of the item."""
        return self.id

    def apply(self, connection: Connection) -> bool:
        """Decide; False if there is no such item. A repeated commit finds its own decision."""
        self.expiry.apply(connection)
        decision, now = self.decision, self.expiry.now
        reviewer = clean_text(decision.reviewer)
        change = _select_free(self.id, reviewer, now).values(
            action=decision.action,
            reviewer=reviewer,
            reason=clean_text(decision.reason),
            decided=now,
            attempt=self.attempt,
        )
        if connection.execute(change).rowcount == 1:
            if decision.text is not None:
                edit_text(connection, clean_text(self.id), decision.text)
            self._store_label(connection)
        row = connection.execute(select_review(self.id)).first()
        self.found = None if row is None else review_from_row(row)
        self.has_succeeded = row is not None and row.attempt == self.attempt
        return row is not None

    def _store_label(self, connection: Connection) -> None:
        row = connection.execute(select_review(self.id)).one()
        label = LabelEdit(
            row.request, row.tenant, row.choice, self.decision.action == "approve", self.expiry.now, row.weight
        )
        label.apply(connection)
        if label.before is not None and row.confidence is None:
            values = {"confidence": label.before.value, "calibrator": label.before.calibrator}
            connection.execute(update(reviews).where(reviews.c.seq == row.seq).values(values))


def label_reviewed_answers(connection: Connection, ids: Collection[str]) -> None:
    """Label answers that are stored only now, after a person decided on them."""
    for row in connection.execute(select_of_requests(ids)).all():
        label = LabelEdit(row.request, row.tenant, row.choice, row.action == "approve", row.decided, row.weight)
        label.apply(connection)


def _select_free(id: str, reviewer: str, now: float) -> Update:
    """Return an update of the item if it is pending and no other reviewer has it."""
    is_free = reviews.c.holder.is_(None) | (reviews.c.holder == clean_text(reviewer)) | (reviews.c.locked_until <= now)
    is_pending = reviews.c.action.is_(None) & (reviews.c.deadline > now)
    return update(reviews).where(reviews.c.id == clean_text(id), is_pending, is_free)
