"""Choices that a person is to decide on: submitted to the review queue with their response, and released."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from heatbath.engine.base import TokensGenerated
from heatbath.errors import BadInput
from heatbath.policy.review import ReviewDecision, ReviewItem
from heatbath.serve.interfaces import StoreUnavailable
from heatbath.serve.openai.confidence import ConfidenceMeter
from heatbath.serve.openai.held_choice import Escalation
from heatbath.serve.openai.outputs import WITHHELD, ChoiceOutput
from heatbath.serve.openai.request_context import RequestContext, encode_json
from heatbath.serve.openai.review import describe_handle
from heatbath.serve.openai.schema.sampling import GenerationRequest
from heatbath.serve.policy.ruling import ReviewStage, ReviewState, Ruling, merge_unique
from heatbath.serve.policy.served_policy import find_priority

if TYPE_CHECKING:
    from heatbath.serve.openai.generation import GenerationTask
    from heatbath.serve.review.queue import StoredReviewQueue

Selection = Sequence[Sequence[ChoiceOutput]]
"""The choices of a response, by their prompt."""

_STAGES: Mapping[str, ReviewStage] = {"approve": "approved", "edit": "edited", "reject": "rejected"}
_PREFERRED_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,4})\"?(?=$|[,;\s])", re.IGNORECASE)


@dataclass(frozen=True)
class ResponseReview:
    """Submits choices of one response.

    `build_payload` returns the response as it would be given now, as JSON.
    """

    context: RequestContext
    task: GenerationTask
    build_payload: Callable[[], Mapping[str, Any]]

    async def resolve(self, selected: Selection, seconds: float) -> str | None:
        """Submit the choices that are held, and release those that are decided within `seconds`.

        Returns the id of an item that is not decided yet, None if all are.
        """
        gate = self.task.gate
        assert gate is not None
        places = {id(choice): place for place, choice in enumerate(chain.from_iterable(selected))}
        held = [(places[id(each.placeholder)], each) for each in gate.escalations if id(each.placeholder) in places]
        if not held:
            return None
        items = self._describe_held(held)
        decisions = await asyncio.gather(*[self._decide(item, seconds) for item in items])
        pending = None
        for (_, escalation), (state, decision) in zip(held, decisions, strict=True):
            self._apply(escalation, state, decision)
            if state is not None and state.status == "pending":
                pending = pending or state.id
        return pending

    async def sample_passing(self, selected: Selection) -> None:
        """Submit the random share of the choices that were given, so that labels are not only of what a rule picked."""
        queue, payload = self._queue, None
        for place, choice in enumerate(chain.from_iterable(selected)):
            passes = choice.finish != WITHHELD and (choice.ruling is None or choice.ruling.review is None)
            if passes and queue.draw_passing():
                payload = payload or self.build_payload()
                item = self._build_item(place, choice, payload, rules=(), probability=queue.settings.random_share)
                try:
                    await queue.submit(item)
                except (StoreUnavailable, BadInput):
                    return

    @property
    def _queue(self) -> StoredReviewQueue:
        queue = self.context.services.review
        assert queue is not None
        return queue

    def _describe_held(self, held: Sequence[tuple[int, Escalation]]) -> list[ReviewItem]:
        """Return the items of held choices. The choices have their text only while the response is written."""
        rulings = [escalation.placeholder.ruling for _, escalation in held]
        try:
            for _, escalation in held:
                fill(escalation, self.task.meter)
            payload = self.build_payload()
            gate = self.task.gate
            assert gate is not None
            items = []
            for place, escalation in held:
                rules = escalation.judgement.rules
                if gate.input.verdict == "escalate":
                    rules = merge_unique(rules, gate.input.rules)
                items.append(self._build_item(place, escalation.placeholder, payload, rules=rules, probability=1.0))
        finally:
            for (_, escalation), ruling in zip(held, rulings, strict=True):
                empty(escalation, ruling)
        return items

    def _build_item(
        self,
        place: int,
        choice: ChoiceOutput,
        payload: Mapping[str, Any],
        *,
        rules: tuple[str, ...],
        probability: float,
    ) -> ReviewItem:
        task, gate = self.task, self.task.gate
        info, meter = task.plan.info, task.meter
        confidence = None if meter is None else meter.measure(choice).value
        return ReviewItem(
            tenant=info.tenant,
            endpoint=info.endpoint,
            model=info.model,
            request_id=info.id,
            choice=place,
            text=choice.text,
            rules=rules,
            priority=0 if gate is None else find_priority(gate.policy, rules),
            probability=probability,
            payload=payload,
            prompt=self.context.language.decode(task.outputs[place // task.plan.n].prompt),
            confidence=confidence,
            calibrator="" if meter is None or confidence is None else meter.served.digest,
            keep_content=task.plan.keep_content,
        )

    async def _decide(self, item: ReviewItem, seconds: float) -> tuple[ReviewState | None, ReviewDecision | None]:
        """Submit an item and wait for the decision; nothing where it cannot be stored."""
        try:
            id = await self._queue.submit(item)
        except (StoreUnavailable, BadInput):
            return None, None
        decision = await self._queue.wait(id, seconds) if seconds > 0 else None
        return ReviewState(id, "pending" if decision is None else _STAGES[decision.action]), decision

    def _apply(self, escalation: Escalation, state: ReviewState | None, decision: ReviewDecision | None) -> None:
        """Release a choice as it was decided; one that cannot be reviewed is denied."""
        choice, ruling = escalation.placeholder, escalation.placeholder.ruling
        assert ruling is not None
        if state is None:
            fault = "the review queue could not take the choice."
            choice.ruling = replace(ruling, action="deny", faults=(*ruling.faults, fault))
        elif decision is None:
            choice.ruling = replace(ruling, review=state)
        elif decision.action == "reject":
            choice.ruling = replace(ruling, action="deny", review=state)
        elif decision.action == "edit":
            choice.pieces, choice.finish = [decision.text or ""], "stop"
            choice.ruling = replace(ruling, action="modify", review=state)
        else:
            fill(escalation, self.task.meter)
            choice.ruling = replace(choice.ruling or ruling, review=state)


def fill(escalation: Escalation, meter: ConfidenceMeter | None) -> None:
    """Put what was held in its place, as after an approval; nothing that has less confidence than is required."""
    choice, whole, judgement = escalation.placeholder, escalation.whole, escalation.judgement
    event = TokensGenerated(0, whole.tokens, "")
    if meter is not None:
        event = meter.hide_columns(event)  # type: ignore[assignment]
    choice.tokens, choice.pieces = list(event.tokens), list(whole.pieces)
    choice.finish, choice.stopped, choice.confidence = whole.finish, whole.stopped, None
    is_withheld = meter is not None and meter.measure(choice).is_withheld
    if not judgement.shows_tokens:
        choice.tokens, choice.stopped = [], None
        choice.pieces = [judgement.text] if judgement.is_changed else choice.pieces
    if is_withheld:
        choice.clear(WITHHELD)
    if choice.ruling is not None:
        choice.ruling = replace(choice.ruling, action="modify" if judgement.is_changed else "allow")


def empty(escalation: Escalation, ruling: Ruling | None) -> None:
    """Take a held text away again."""
    escalation.placeholder.clear(WITHHELD)
    escalation.placeholder.ruling = ruling


async def respond_with_handle(context: RequestContext, id: str, headers: Mapping[str, str]) -> Response:
    """Return the response, 202, by which a client finds its answer later."""
    queue = context.services.review
    assert queue is not None
    handle: Any = ReviewState(id).describe()
    with suppress(StoreUnavailable):
        review = await queue.find(id, context.tenant.name)
        handle = handle if review is None else describe_handle(review)
    return Response(encode_json(handle), 202, dict(headers), "application/json")


def read_wait(context: RequestContext, body: GenerationRequest) -> float:
    """Return the seconds that a request waits for a person, 0 where it takes the handle: `thermo.review` or Prefer."""
    if body.thermo is not None and body.thermo.review is not None:
        return body.thermo.review.wait
    match = _PREFERRED_WAIT.search(context.http.headers.get("prefer", ""))
    return 0.0 if match is None else float(min(int(match[1]), 3600))
