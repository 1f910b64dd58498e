"""The response that is released after a review: the held one, with what was decided of its choices.

Approval leaves a choice as it is. An edit puts the reviewer's text in its place, without tool calls; a rejection leaves
the form of a choice that a content filter withheld. Both take away what tells of the original text: log-probabilities,
token ids, records.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from heatbath.errors import BadInput
from heatbath.policy.review import ReviewDecision
from heatbath.serve.openai.outputs import WITHHELD
from heatbath.serve.openai.response_items import write_summary
from heatbath.serve.review.stored_review import StoredReview

Payload = dict[str, Any]
Replacer = Callable[[Payload, int, str | None, str], None]
"""Puts a text, None for a rejection, in the place of a choice of a payload, whose own text comes last."""


def release_response(reviews: Sequence[StoredReview]) -> Payload:
    """Return the response of the items of one request, all of which are decided and have their content."""
    payload: Payload = copy.deepcopy(dict(reviews[0].item.payload))
    for review in reviews:
        assert review.decision is not None
        payload = apply_decision(payload, review.item.choice, review.decision, text=review.item.text)
    return payload


def apply_decision(payload: Mapping[str, Any], choice: int, decision: ReviewDecision, *, text: str) -> Payload:
    """Return a response as a decision on one of its choices leaves it; `text` is the one that was reviewed.

    Raises:
        BadInput: the response is of no endpoint whose text can be replaced.
    """
    released: Payload = copy.deepcopy(dict(payload))
    replace = find_replacer(released)
    if decision.action != "approve":
        replace(released, choice, decision.text if decision.action == "edit" else None, text)
    return released


def find_replacer(payload: Mapping[str, Any]) -> Replacer:
    """Return the function that replaces text in a response of this form. Raises `BadInput` if there is none."""
    kind = payload.get("object") or payload.get("type")
    if kind not in _REPLACERS:
        raise BadInput(
            f"a response of the form {kind!r} cannot be reviewed: give that of a chat, completion, response or message."
        )
    return _REPLACERS[kind]


def _replace_chat(payload: Payload, choice: int, text: str | None, original: str) -> None:
    found = _find_choice(payload, choice)
    found["message"] = {"role": "assistant", "content": text or "", "refusal": None}
    _strip_choice(found, text)


def _replace_completion(payload: Payload, choice: int, text: str | None, original: str) -> None:
    found = _find_choice(payload, choice)
    # A prompt that the request wants repeated stays before the text.
    echo = found["text"].removesuffix(original) if found["text"].endswith(original) else ""
    found["text"] = echo + (text or "")
    _strip_choice(found, text)


def _find_choice(payload: Payload, choice: int) -> Payload:
    found: Payload = next(each for each in payload["choices"] if each["index"] == choice)
    return found


def _strip_choice(choice: Payload, text: str | None) -> None:
    choice["logprobs"] = None
    choice["finish_reason"] = WITHHELD if text is None else "stop"
    _strip_extras(choice)


def _strip_extras(part: Payload) -> None:
    for name in ("stop_reason", "token_ids", "thermo"):
        part.pop(name, None)


def _replace_response(payload: Payload, choice: int, text: str | None, original: str) -> None:
    status = "incomplete" if text is None else "completed"
    part = {"type": "output_text", "text": text or "", "annotations": [], "logprobs": []}
    payload["output"] = [
        {
            "type": "message",
            "id": f"msg_{payload['id'].removeprefix('resp_')}_0",
            "status": status,
            "role": "assistant",
            "content": [part],
        }
    ]
    payload["status"] = status
    payload["incomplete_details"] = {"reason": WITHHELD} if text is None else None
    payload["completed_at"] = None if text is None else payload.get("completed_at") or payload["created_at"]
    _strip_extras(payload)


def _replace_summary(payload: Payload, choice: int, text: str | None, original: str) -> None:
    for item in payload["output"]:
        item["encrypted_content"] = write_summary(text or "")


def _replace_message(payload: Payload, choice: int, text: str | None, original: str) -> None:
    _strip_extras(payload)
    payload["content"] = [] if text is None else [{"type": "text", "text": text}]
    payload["stop_reason"] = "refusal" if text is None else "end_turn"
    payload["stop_sequence"] = None


_REPLACERS: dict[Any, Replacer] = {
    "chat.completion": _replace_chat,
    "text_completion": _replace_completion,
    "response": _replace_response,
    "response.compaction": _replace_summary,
    "message": _replace_message,
}
