"""The released response: what a server wrote, with what was decided of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "openai"))

from serving import Server, server

from heatbath.errors import BadInput
from heatbath.policy.review import ReviewDecision
from heatbath.serve.openai.review_release import apply_decision
from heatbath.serve.openai.schema.messages import MessageResponse
from heatbath.serve.openai.schema.response_bodies import ChatCompletion, TextCompletion
from heatbath.serve.openai.schema.response_objects import CompactedResponse, ResponseObject

NODES = {"record": "nodes"}
ALL = {"max_tokens": 9, "logprobs": True, "return_token_ids": True, "thermo": NODES}
REJECT = ReviewDecision("reject", "bob", "wrong")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def made() -> Server:
    return server(limits={"max_n": 8})


def _edit(text: str) -> ReviewDecision:
    return ReviewDecision("edit", "bob", "", text)


FORMS: dict[str, tuple[str, dict[str, Any], type]] = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], **ALL, "n": 2}, ChatCompletion),
    "completions": ("/v1/completions", {"prompt": "Once", **ALL, "logprobs": 2, "echo": True, "n": 2}, TextCompletion),
    "responses": (
        "/v1/responses",
        {"input": "hi", "max_output_tokens": 9, "thermo": NODES},
        ResponseObject,
    ),
    "messages": (
        "/v1/messages",
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, "thermo": {"record": "nodes"}},
        MessageResponse,
    ),
    "compact": ("/v1/responses/compact", {"input": "hi"}, CompactedResponse),
}


def _held(made: Server, form: str) -> tuple[dict[str, Any], str, int, type]:
    """A response of the server, the text of its last choice, and that choice's number."""
    path, body, kind = FORMS[form]
    payload = made.post(path, body).json()
    if form == "chat":
        return payload, payload["choices"][1]["message"]["content"], 1, kind
    if form == "completions":
        return payload, payload["choices"][1]["text"].removeprefix("Once"), 1, kind
    if form == "responses":
        return payload, payload["output"][0]["content"][0]["text"], 0, kind
    if form == "messages":
        return payload, payload["content"][0]["text"], 0, kind
    return payload, "", 0, kind


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_released(made: Server, form: str) -> None:
    payload, text, choice, kind = _held(made, form)
    before = json.dumps(payload)
    approved = apply_decision(payload, choice, ReviewDecision("approve", "bob", ""), text=text)
    assert approved == payload
    for decision in (REJECT, _edit("Ask a doctor.")):
        released = apply_decision(payload, choice, decision, text=text)
        msgspec.convert(released, kind)
        words = json.dumps(released)
        assert ("Ask a doctor." in words) is (decision.action == "edit" and form != "compact")
        assert ("content_filter" in words or "refusal" in words) or decision.action == "edit" or form == "compact"
        assert released["id"] == payload["id"]
    assert json.dumps(payload) == before


@pytest.mark.parametrize("form", ["chat", "completions"])
def test_other_choices_stay(made: Server, form: str) -> None:
    payload, text, _, _ = _held(made, form)
    released = apply_decision(payload, 1, REJECT, text=text)
    assert released["choices"][0] == payload["choices"][0] and released["usage"] == payload["usage"]
    rejected = released["choices"][1]
    assert rejected["finish_reason"] == "content_filter" and rejected["logprobs"] is None
    assert not {"thermo", "token_ids"} & rejected.keys()
    assert rejected.get("text", "Once") == "Once"


SECRETS = st.text("ABCDEFGÄ😀", min_size=8, max_size=20)


@given(SECRETS, st.sampled_from(["reject", "edit"]), st.sampled_from(["chat", "completion", "response", "message"]))
def test_nothing_of_the_original_text_is_released(secret: str, action: Any, form: str) -> None:
    """The text stands wherever a response can hold it."""
    token = {"token": secret, "logprob": -1.0, "bytes": list(secret.encode()), "top_logprobs": []}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": secret}}
    extras = {"token_ids": [1], "stop_reason": secret, "thermo": {"records": {"text": [secret]}}}
    payload: dict[str, Any] = {
        "chat": {
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": secret, "tool_calls": [call]},
                    "logprobs": {"content": [token]},
                    "finish_reason": "tool_calls",
                    **extras,
                }
            ],
        },
        "completion": {
            "object": "text_completion",
            "choices": [{"index": 0, "text": "Once" + secret, "logprobs": {"tokens": [secret]}, **extras}],
        },
        "response": {
            "object": "response",
            "id": "resp_1",
            "created_at": 1,
            "output": [
                {"type": "message", "content": [{"type": "output_text", "text": secret, "logprobs": [token]}]},
                {"type": "function_call", "arguments": secret},
            ],
            **extras,
        },
        "message": {
            "type": "message",
            "content": [{"type": "text", "text": secret}, {"type": "tool_use", "input": {"a": secret}}],
            "stop_sequence": secret,
            **extras,
        },
    }[form]
    decision = ReviewDecision(action, "bob", "", "other" if action == "edit" else None)
    released = json.dumps(apply_decision(payload, 0, decision, text=secret), ensure_ascii=False)
    assert secret not in released and str(list(secret.encode())) not in released
    assert ("other" in released) is (action == "edit")


def test_a_form_without_text_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot be reviewed"):
        apply_decision({"object": "list"}, 0, REJECT, text="")
