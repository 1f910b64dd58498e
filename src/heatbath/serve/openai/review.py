"""Answers that wait for a person: GET /v1/review/{id} for the client; list, lock and decide for reviewers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from starlette.responses import Response

from heatbath.policy.review import ReviewDecision
from heatbath.serve.errors import ApiError, invalid_value
from heatbath.serve.openai.request_context import RequestContext, encode_json
from heatbath.serve.openai.review_release import release_response
from heatbath.serve.openai.schema.review import (
    ReviewDecisionRequest,
    ReviewEntry,
    ReviewHandle,
    ReviewList,
    ReviewLockRequest,
    ReviewVerdict,
)
from heatbath.serve.openai.validation import format_value
from heatbath.serve.review.queue import ReviewChange, StoredReviewQueue
from heatbath.serve.review.stored_review import ReviewQuery, ReviewStatus, StoredReview

MAX_WAIT_SECONDS = 60.0
"""The longest that a client may wait in one request."""
MAX_PAGE = 100
_MAX_OFFSET = 10**9


async def held_answer(context: RequestContext) -> Response:
    """Return the released response if all of its choices are decided, else 202 with the handle."""
    queue, id, tenant = _find_queue(context), context.http.path_params["id"], context.tenant.name
    seconds = _read_number(context.query, "wait", 0.0, MAX_WAIT_SECONDS)
    review = await queue.find(id, tenant)
    if review is None or not review.is_held:
        raise _not_found("of yours ")
    if seconds and review.decision is None:
        await queue.wait(id, seconds)
    reviews = [each for each in await queue.list_of_request(review.item.request_id, tenant) if each.is_held]
    if any(each.decision is None for each in reviews):
        return Response(encode_json(describe_handle(review)), 202, media_type="application/json")
    if not all(each.has_content for each in reviews):
        raise ApiError(404, "the content of this answer has been erased.", code="not_found", param="id")
    return context.json_response(release_response(reviews), {"x-heatbath-review": _name_actions(reviews)})


def describe_handle(review: StoredReview) -> ReviewHandle:
    """Return what the client of a held answer gets."""
    return ReviewHandle(
        id=review.id,
        url=f"/v1/review/{review.id}",
        created_at=int(review.stored_at),
        expires_at=math.ceil(review.deadline),
    )


async def list_reviews(context: RequestContext) -> Response:
    """Return items of all tenants: pending ones by priority and age, or decided ones, the newest first."""
    query, queue = _read_query(context.query), _find_queue(context)
    found = await queue.list_reviews(query)
    entries = [_describe_entry(review, queue.current_time()) for review in found[: query.limit - 1]]
    more = query.offset + len(entries) if len(found) == query.limit else None
    return context.json_response(ReviewList(data=entries, next=more))


async def lock_review(context: RequestContext) -> Response:
    """Give the reviewer an item for some time, or take it back."""
    body, queue = await context.read_body(ReviewLockRequest), _find_queue(context)
    change = await queue.lock(context.http.path_params["id"], _find_reviewer(context), body.seconds)
    return _respond(context, change)


async def decide_review(context: RequestContext) -> Response:
    """Decide an item. The first decision counts, and is a label of the answer where its confidence is known."""
    body, queue = await context.read_body(ReviewDecisionRequest), _find_queue(context)
    if (body.action == "edit") != (body.text is not None):
        raise invalid_value(f"text is {'missing' if body.text is None else 'set'}: give one with edit alone.", "text")
    decision = ReviewDecision(body.action, _find_reviewer(context), body.reason, body.text)
    change = await queue.decide(context.http.path_params["id"], decision)
    if change is not None and change.has_succeeded:
        _report_label(context, change.review)
    return _respond(context, change)


def _respond(context: RequestContext, change: ReviewChange | None) -> Response:
    """Return the item, with 409 where it was decided before or another reviewer has it."""
    if change is None:
        raise _not_found()
    now = _find_queue(context).current_time()
    entry = _describe_entry(change.review, now)
    if change.has_succeeded:
        return context.json_response(entry)
    decision = change.review.decision
    if decision is not None:
        message, code = (
            f"this item has been decided before, by {decision.reviewer}: {decision.action}.",
            "already_decided",
        )
    else:
        message, code = f"{change.review.holder} has this item now: take another, or wait.", "locked"
    body = {**ApiError(409, message, code=code, param="id").body, "item": entry}
    return Response(encode_json(body), 409, media_type="application/json")


def _report_label(context: RequestContext, review: StoredReview) -> None:
    """Tell the monitor of the calibration of a new label, with the weight that makes up for its selection."""
    served, item, decision = context.services.calibrator, review.item, review.decision
    if served is None or decision is None or item.confidence is None or item.calibrator != served.digest:
        return
    is_right = decision.action == "approve"
    served.monitor.add_label(item.request_id, item.choice, item.confidence, is_right=is_right, weight=review.weight)


def _describe_entry(review: StoredReview, now: float) -> ReviewEntry:
    item, holder = review.item, review.find_holder(now)
    return ReviewEntry(
        id=review.id,
        status="pending" if review.decision is None else "decided",
        tenant=item.tenant,
        endpoint=item.endpoint,
        model=item.model,
        request=item.request_id,
        choice=item.choice,
        text=item.text if review.has_content else None,
        prompt=item.prompt if review.has_content else None,
        rules=list(item.rules),
        priority=item.priority,
        probability=item.probability,
        confidence=item.confidence,
        created_at=review.stored_at,
        expires_at=review.deadline,
        locked_by=holder,
        locked_until=None if holder is None else review.locked_until,
        decision=_describe_decision(review),
    )


def _describe_decision(review: StoredReview) -> ReviewVerdict | None:
    decision = review.decision
    if decision is None or review.decided_at is None:
        return None
    return ReviewVerdict(
        action=decision.action,
        reviewer=decision.reviewer,
        reason=decision.reason,
        text=decision.text,
        decided_at=review.decided_at,
    )


def _read_query(query: Mapping[str, str]) -> ReviewQuery:
    """Return the search that the parameters ask for, with one item more than is returned."""
    status = _read_choice(query, "status", ("pending", "decided")) or "pending"
    random = _read_choice(query, "random", ("true", "false"))
    return ReviewQuery(
        cast(ReviewStatus, status),
        int(_read_number(query, "limit", 1, MAX_PAGE, default=20)) + 1,
        int(_read_number(query, "offset", 0, _MAX_OFFSET)),
        id=query.get("id"),
        tenant=query.get("tenant"),
        model=query.get("model"),
        rule=query.get("rule"),
        action=_read_choice(query, "action", ("approve", "edit", "reject")),
        is_random=None if random is None else random == "true",
    )


def _read_choice(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    value = query.get(name)
    if value is not None and value not in choices:
        raise invalid_value(f"{name} is {format_value(value)}: give {' or '.join(choices)}.", name)
    return value


def _read_number(query: Mapping[str, str], name: str, least: float, most: float, *, default: float = 0.0) -> float:
    value = query.get(name, str(default))
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise invalid_value(f"{name} is {format_value(value)}: give a number from {least:g} to {most:g}.", name)
    return number


def _find_queue(context: RequestContext) -> StoredReviewQueue:
    queue = context.services.review
    if queue is None:
        raise ApiError(404, "this server has no review queue: set review.enabled.", code="not_found")
    return queue


def _find_reviewer(context: RequestContext) -> str:
    return context.tenant.key or context.tenant.name


def _name_actions(reviews: list[StoredReview]) -> str:
    return ", ".join(each.decision.action for each in reviews if each.decision is not None)


def _not_found(whose: str = "") -> ApiError:
    message = f"there is no item {whose}of this id in the review queue: it was never there, or is too old."
    return ApiError(404, message, code="not_found", param="id")
