"""Items of the review queue as they are stored, and searches among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from heatbath.policy.review import ReviewDecision, ReviewItem

ReviewStatus = Literal["pending", "decided"]


@dataclass(frozen=True)
class StoredReview:
    """An item with its state. Times are Unix seconds.

    Attributes:
        item: without texts and payload where `has_content` is False.
        weight: the stake of its label in tests of the calibration, in [0, 1].
        deadline: the time of the default decision.
        holder: the reviewer who took it last, until `locked_until`; None if nobody has it.
        decision: None while it is pending.
    """

    id: str
    item: ReviewItem
    stored_at: float
    deadline: float
    weight: float = 1.0
    has_content: bool = True
    holder: str | None = None
    locked_until: float | None = None
    decision: ReviewDecision | None = None
    decided_at: float | None = None

    @property
    def is_held(self) -> bool:
        """True if a rule sent it, so that its client waits; one that was drawn at random has been given already."""
        return bool(self.item.rules)

    def find_holder(self, now: float) -> str | None:
        """Return the reviewer who has it at a time."""
        is_locked = self.decision is None and self.locked_until is not None and self.locked_until > now
        return self.holder if is_locked else None


@dataclass(frozen=True)
class ReviewQuery:
    """A search: pending items by priority, then age; decided ones, the newest decision first. None admits any value.

    Attributes:
        rule: the id of a rule that sent the item.
        is_random: whether it was drawn at random.
        offset: items to leave out at the beginning.
    """

    status: ReviewStatus = "pending"
    limit: int = 20
    offset: int = 0
    id: str | None = None
    tenant: str | None = None
    model: str | None = None
    rule: str | None = None
    action: str | None = None
    is_random: bool | None = None


@dataclass(frozen=True)
class ReviewSummary:
    """State of the queue: items that are pending and locked, seconds that the oldest has waited (None without any), and
    decisions by action; those of nobody count as "timeout" and "deletion".
    """

    pending: int = 0
    locked: int = 0
    oldest_seconds: float | None = None
    decisions: Mapping[str, int] = field(default_factory=dict)
