"""Answers that wait for a person: the handle of the client, and what reviewers read and send."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Action = Literal["approve", "edit", "reject"]
ReviewText = Annotated[str, Meta(max_length=2**20)]
LockSeconds = Annotated[float, Meta(ge=0, le=86_400)]


class ReviewHandle(Struct, kw_only=True):
    """An answer that is held until somebody has decided; `url` is the path to ask at, `expires_at` (Unix seconds) the
    time at which the default decision is taken.
    """

    id: str
    object: Literal["review"] = "review"
    status: Literal["pending"] = "pending"
    url: str
    created_at: int
    expires_at: int


class ReviewVerdict(Struct, kw_only=True):
    """A decision. `reviewer` is the name of the key, "timeout" where nobody decided in time, or "deletion"."""

    action: Action
    reviewer: str
    reason: str
    text: str | None
    decided_at: float


class ReviewEntry(Struct, kw_only=True):
    """An item of the queue. `text` and `prompt` are null where the content was erased."""

    id: str
    object: Literal["review.item"] = "review.item"
    status: Literal["pending", "decided"]
    tenant: str
    endpoint: str
    model: str
    request: str
    choice: int
    text: str | None
    prompt: str | None
    rules: list[str]
    priority: int
    probability: float
    confidence: float | None
    created_at: float
    expires_at: float
    locked_by: str | None
    locked_until: float | None
    decision: ReviewVerdict | None


class ReviewList(Struct, kw_only=True):
    """A page of items; `next` is the offset of the next one, null at the end."""

    object: Literal["list"] = "list"
    data: list[ReviewEntry]
    next: int | None


class ReviewLockRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Seconds to have an item for, those of the settings where none are given; 0 gives it up."""

    seconds: LockSeconds | None = None


class ReviewDecisionRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """A decision; an edit has the `text` to give instead."""

    action: Action
    reason: Annotated[str, Meta(max_length=10_000)] = ""
    text: ReviewText | None = None
