"""Replays the events of a streamed response, and checks their order, numbers and places on the way."""

from __future__ import annotations

import json
from typing import Any

TERMINAL = {"response.completed", "response.incomplete", "response.failed"}
REQUIRED = frozenset(
    {"id", "object", "created_at", "completed_at", "status", "incomplete_details", "error", "model", "output", "usage"}
    | {"previous_response_id", "instructions", "tools", "tool_choice", "parallel_tool_calls", "max_tool_calls", "text"}
    | {"truncation", "temperature", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs", "reasoning"}
    | {"max_output_tokens", "store", "background", "service_tier", "metadata", "safety_identifier", "prompt_cache_key"}
)
"""Fields that the specification of Open Responses requires of every response, null or not."""


def read_events(text: str) -> list[dict[str, Any]]:
    """The events of a stream; each names its type twice."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines and lines != ["data: [DONE]"]:
            name, data = lines
            event = json.loads(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            found.append(event)
    return found


def replay(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The response that the deltas add up to, which must be the one that the last event has."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[0]["response"] == events[1]["response"]
    assert events[0]["response"]["status"] == "in_progress" and events[0]["response"]["output"] == []
    assert [event["type"] in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    output: list[dict[str, Any]] = []
    for event in events[2:-1]:
        _apply(output, event)
    last = events[-1]["response"]
    assert set(last) >= REQUIRED and last["id"] == events[0]["response"]["id"]
    if last["status"] != "failed":
        assert last["output"] == output
        assert all(item["status"] != "in_progress" for item in output)
    whole: dict[str, Any] = last
    return whole


def _apply(output: list[dict[str, Any]], event: dict[str, Any]) -> None:
    kind, index = event["type"].removeprefix("response."), event["output_index"]
    if kind == "output_item.added":
        assert index == len(output) and (not output or output[-1]["status"] != "in_progress")
        assert event["item"]["status"] == "in_progress"
        output.append(event["item"])
        return
    item = output[index]
    assert index == len(output) - 1 and item["status"] == "in_progress"
    if kind == "output_item.done":
        assert event["item"] | {"status": "in_progress"} == item
        output[index] = event["item"]
        return
    assert event["item_id"] == item["id"]
    if kind == "function_call_arguments.delta":
        item["arguments"] += event["delta"]
    elif kind == "function_call_arguments.done":
        assert event["arguments"] == item["arguments"] and event["name"] == item["name"]
    elif kind == "content_part.added":
        assert event["content_index"] == len(item["content"])
        item["content"].append(event["part"])
    else:
        part = item["content"][event["content_index"]]
        if kind == "output_text.delta":
            part["text"] += event["delta"]
            part["logprobs"] += event["logprobs"]
        elif kind == "output_text.done":
            # Tokens without text of their own come with the end.
            part["logprobs"] = event["logprobs"]
            assert event["text"] == part["text"]
        else:
            assert kind == "content_part.done" and event["part"] == part
