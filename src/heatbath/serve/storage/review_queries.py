"""Queries and statements of the review queue, that run inside a transaction."""

from __future__ import annotations

import time
import zlib
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Text, case, cast, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from heatbath.policy.review import DELETION_REVIEWER, SYSTEM_REVIEWERS, TIMEOUT_REVIEWER, ReviewDecision, ReviewItem
from heatbath.serve.review.stored_review import ReviewQuery, StoredReview
from heatbath.serve.storage.row_codec import clean_text, from_json, to_json
from heatbath.serve.storage.schema import review_contents, reviews

CONTENT_GRACE = 3600.0
"""Seconds after a decision in which the response can be fetched where its content is not to be kept."""
_MAX_EXPIRED = 500


def insert_review(connection: Connection, row: Mapping[str, Any], item: ReviewItem) -> str:
    """Insert an item; return its id, or that of the item that this choice of the request already has."""
    values = {
        **row,
        "tenant": clean_text(item.tenant),
        "endpoint": clean_text(item.endpoint),
        "model": clean_text(item.model),
        "request": clean_text(item.request_id),
        "choice": item.choice,
        "rules": list(item.rules),
        "priority": item.priority,
        "probability": item.probability,
        "confidence": item.confidence,
        "calibrator": clean_text(item.calibrator),
    }
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    added = dialect.insert(reviews).values(values).on_conflict_do_nothing().returning(reviews.c.seq)
    seq = connection.execute(added).scalar()
    if seq is not None:
        body = _encode_content([item.text, item.prompt, item.payload, None])
        connection.execute(insert(review_contents).values(seq=seq, body=body))
        return str(row["id"])
    known = select(reviews.c.id).where(_is_of_request(item.request_id, item.tenant), reviews.c.choice == item.choice)
    return str(connection.execute(known).scalar_one())


def expire_overdue(connection: Connection, now: float, default: str) -> int:
    """Give pending items whose deadline has passed the default action; return their number, some at a time."""
    overdue = select(reviews.c.seq).where(reviews.c.action.is_(None), reviews.c.deadline <= now)
    # Two servers do it at once: neither waits for the other's rows.
    rows = overdue.order_by(reviews.c.seq).limit(_MAX_EXPIRED).with_for_update(skip_locked=True)
    numbers = connection.execute(rows).scalars().all()
    if numbers:
        values = _decision_values(default, TIMEOUT_REVIEWER, "nobody decided in time", now)
        connection.execute(update(reviews).where(reviews.c.seq.in_(numbers), reviews.c.action.is_(None)).values(values))
    return len(numbers)


def erase_reviews(connection: Connection, request_id: str, tenant: str) -> None:
    """Erase the content of all items of a request; a pending one cannot be given any more, and is rejected."""
    found = _is_of_request(request_id, tenant)
    values = _decision_values("reject", DELETION_REVIEWER, "the answer was deleted", time.time())
    connection.execute(update(reviews).where(found, reviews.c.action.is_(None)).values(values))
    connection.execute(delete(review_contents).where(review_contents.c.seq.in_(select(reviews.c.seq).where(found))))


def delete_expired_reviews(connection: Connection, now: float, before: float) -> None:
    """Erase contents of decided items that were stored `before` a time, or are not to be kept; delete timed-out items.

    What a person decided stays, with its label and reason and without content.
    """
    is_decided, is_old = reviews.c.action.is_not(None), reviews.c.stored < before
    is_over = is_old | (reviews.c.kept.is_(False) & (reviews.c.decided < now - CONTENT_GRACE))
    erased = select(reviews.c.seq).join(review_contents, review_contents.c.seq == reviews.c.seq)
    connection.execute(
        delete(review_contents).where(review_contents.c.seq.in_(erased.where(is_decided, is_over).limit(_MAX_EXPIRED)))
    )
    by_nobody = reviews.c.reviewer.in_(SYSTEM_REVIEWERS)
    connection.execute(delete(reviews).where(is_decided, is_old, by_nobody))


def edit_text(connection: Connection, id: str, text: str) -> None:
    """Store the edited text with the content of an item."""
    found = select(review_contents).join(reviews, review_contents.c.seq == reviews.c.seq).where(reviews.c.id == id)
    row = connection.execute(found).one()
    content = _encode_content([*_decode_content(row.body)[:3], text])
    connection.execute(update(review_contents).where(review_contents.c.seq == row.seq).values(body=content))


def select_review(id: str, tenant: str | None = None) -> Select[Any]:
    """Return the query of one item with its content; None is any tenant."""
    found = _select_items().where(reviews.c.id == clean_text(id))
    return found if tenant is None else found.where(reviews.c.tenant == clean_text(tenant))


def select_of_request(request_id: str, tenant: str) -> Select[Any]:
    """Return the query of all items of a request."""
    return _select_items().where(_is_of_request(request_id, tenant)).order_by(reviews.c.choice)


def select_decided(ids: Collection[str]) -> Select[Any]:
    """Return the query of those of the items that are decided."""
    return _select_items().where(reviews.c.id.in_(ids), reviews.c.action.is_not(None))


def select_of_requests(request_ids: Collection[str]) -> Select[Any]:
    """Return the query of what a person decided of requests, without contents."""
    is_by_person = reviews.c.action.is_not(None) & reviews.c.reviewer.not_in(SYSTEM_REVIEWERS)
    return select(reviews).where(reviews.c.request.in_(request_ids), is_by_person)


def select_overdue(now: float) -> Select[Any]:
    """Return the query of one pending item whose deadline has passed."""
    return select(reviews.c.id).where(reviews.c.action.is_(None), reviews.c.deadline <= now).limit(1)


def select_reviews(query: ReviewQuery) -> Select[Any]:
    """Return the query of the items that `query` asks for."""
    is_pending = query.status == "pending"
    rows = _select_items().where(reviews.c.action.is_(None) if is_pending else reviews.c.action.is_not(None))
    for column, value in ((reviews.c.id, query.id), (reviews.c.tenant, query.tenant), (reviews.c.model, query.model)):
        if value is not None:
            rows = rows.where(column == clean_text(value))
    if query.action is not None:
        rows = rows.where(reviews.c.action == query.action)
    if query.is_random is not None:
        is_random = cast(reviews.c.rules, Text) == "[]"
        rows = rows.where(is_random if query.is_random else ~is_random)
    if query.rule is not None:
        name = to_json(query.rule).decode()
        rows = rows.where(cast(reviews.c.rules, Text).contains(name, autoescape=True))
    by_priority, by_time = (reviews.c.priority.desc(), reviews.c.seq), (reviews.c.decided.desc(), reviews.c.seq.desc())
    order = by_priority if is_pending else by_time
    return rows.order_by(*order).limit(query.limit).offset(query.offset)


def select_pending_summary(now: float) -> Select[Any]:
    """Return the query of the numbers of pending and locked items, and of the time of the oldest."""
    is_locked = reviews.c.holder.is_not(None) & (reviews.c.locked_until > now)
    columns: list[Any] = [
        func.count().label("pending"),
        func.count(reviews.c.seq).filter(is_locked).label("locked"),
        func.min(reviews.c.stored).label("oldest"),
    ]
    return select(*columns).where(reviews.c.action.is_(None))


def select_decision_counts() -> Select[Any]:
    """Return the query of the numbers of decisions, by action where a person decided, else by who nobody is."""
    kind = case((reviews.c.reviewer.in_(SYSTEM_REVIEWERS), reviews.c.reviewer), else_=reviews.c.action).label("kind")
    return select(kind, func.count().label("number")).where(reviews.c.action.is_not(None)).group_by(kind)


def review_from_row(row: Row[Any]) -> StoredReview:
    """Convert a row of `reviews` with the body of its content, None where that was erased."""
    text, prompt, payload, edited = ("", "", {}, None) if row.body is None else _decode_content(row.body)
    item = ReviewItem(
        row.tenant,
        row.endpoint,
        row.model,
        row.request,
        row.choice,
        text,
        tuple(row.rules),
        row.priority,
        row.probability,
        payload,
        prompt,
        row.confidence,
        row.calibrator,
        row.kept,
    )
    decision = None if row.action is None else ReviewDecision(row.action, row.reviewer, row.reason, edited)
    return StoredReview(
        row.id,
        item,
        row.stored,
        row.deadline,
        row.weight,
        row.body is not None,
        row.holder,
        row.locked_until,
        decision,
        row.decided,
    )


def _select_items() -> Select[Any]:
    return select(reviews, review_contents.c.body).outerjoin(review_contents, review_contents.c.seq == reviews.c.seq)


def _is_of_request(request_id: str, tenant: str) -> ColumnElement[bool]:
    return (reviews.c.request == clean_text(request_id)) & (reviews.c.tenant == clean_text(tenant))


def _decision_values(action: str, reviewer: str, reason: str, now: float) -> dict[str, Any]:
    return {"action": action, "reviewer": reviewer, "reason": reason, "decided": now}


def _encode_content(parts: list[Any]) -> bytes:
    return zlib.compress(to_json(parts), 1)


def _decode_content(body: bytes) -> list[Any]:
    content: list[Any] = from_json(zlib.decompress(body))
    return content
