"""Items that wait for a person's decision, and the queue that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

ReviewAction = Literal["approve", "edit", "reject"]

TIMEOUT_REVIEWER, DELETION_REVIEWER = "timeout", "deletion"
SYSTEM_REVIEWERS = frozenset({TIMEOUT_REVIEWER, DELETION_REVIEWER})
"""Reviewers that are nobody: nobody decided in time, or the client deleted the answer before anybody did."""


@dataclass(frozen=True)
class ReviewItem:
    """An answer that is held until somebody has decided.

    Attributes:
        request_id: id of the request, which that of the response ends with, and by which its outcome is stored.
        choice: number of the choice within the response.
        text: the text to review; tool calls as their JSON.
        rules: ids of the rules that sent it here; empty for one that was drawn at random.
        probability: the probability with which an item like this one is sent, 1 for one that a rule sent.
        payload: the held response, as JSON.
        prompt: the text that it responds to, for the reviewer.
        confidence: the measured probability that the choice is right, None without one.
        calibrator: the digest of the calibrator that measured it.
        keep_content: whether texts and payload may stay stored after the decision.
    """

    tenant: str
    endpoint: str
    model: str
    request_id: str
    choice: int
    text: str
    rules: tuple[str, ...]
    priority: int
    probability: float
    payload: Mapping[str, Any]
    prompt: str = ""
    confidence: float | None = None
    calibrator: str = ""
    keep_content: bool = True


@dataclass(frozen=True)
class ReviewDecision:
    """A decision on an item. `reviewer` is "timeout" where nobody decided in time; `text` is that of an edit."""

    action: ReviewAction
    reviewer: str
    reason: str
    text: str | None = None

    @property
    def is_by_person(self) -> bool:
        """True if a person decided, so that the decision says whether the answer was right."""
        return self.reviewer not in SYSTEM_REVIEWERS


class ReviewQueue(Protocol):
    """Holds items until they are decided; each is decided once."""

    async def submit(self, item: ReviewItem) -> str:
        """Store an item durably and return its id."""

    async def wait(self, item_id: str, seconds: float) -> ReviewDecision | None:
        """Return the decision on an item, None if there is none within `seconds`."""
