"""Answers as the page reads them, whatever shape their content has."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from heatbath.serve.dashboard.serializers import outcome_temperature, serialize_outcome, summarize_outcome
from heatbath.serve.interfaces import RequestInfo, RequestOutcome


def answered(settings: dict[str, Any] | None = None, **more: Any) -> RequestOutcome:
    return RequestOutcome(
        RequestInfo("1", "a", "/v1/completions", "mock", False, 0.0, 1.7e9, settings or {}), 200, **more
    )


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        ({"messages": [{"role": "user", "content": "hi"}]}, [("user", "hi")]),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
            [("user", "a\nb")],
        ),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}]},
            [("assistant", "{'name': 'f'}")],
        ),
        ({"prompt": "once"}, [("prompt", "once")]),
        ({"prompt": ["once", "twice"]}, [("prompt", "once\ntwice")]),
        ({"prompt": [1, 2, 3]}, [("prompt", "1 2 3")]),
        ({"prompt": [[1, 2], [3]]}, [("prompt", "1 2\n3")]),
        ({}, []),
    ],
)
def test_what_was_asked_is_text(content: Any, asked: list[tuple[str, str]]) -> None:
    found = serialize_outcome(answered(content=content))["content"]
    assert [(one["role"], one["text"]) for one in found["asked"]] == asked


def test_all_of_it_is_json_without_what_json_has_no_number_for() -> None:
    made = answered(
        {"temperature": 0.0},
        seed=2**70,
        summary=[{"logprob": -np.inf}],
        records=[{"text": ["<b>"], "entropy": np.array([np.nan]), "nodes/log_z": [[1.0]]}],
    )
    found = msgspec.json.decode(msgspec.json.encode(serialize_outcome(made)))
    assert found["seed"] == str(2**70)
    assert found["summary"] == [{"logprob": None}]
    assert found["records"] == [{"text": ["<b>"], "entropy": [None]}]
    assert found["content"] is None


@pytest.mark.parametrize(
    ("settings", "drawn", "expected"),
    [
        ({"temperature": 0.7}, [], 0.7),
        ({}, [[1.0, 1.0]], 1.0),
        ({"temperature": 0.7}, [[0.2, 0.9]], None),
        ({}, [], None),
        ({"temperature": float("nan")}, [], None),
    ],
)
def test_the_temperature_is_the_one_drawn_at(
    settings: dict[str, Any], drawn: list[Any], expected: float | None
) -> None:
    made = answered(settings, summary=[{"temperature": one} for one in drawn])
    assert outcome_temperature(made) == summarize_outcome(made)["temperature"] == expected
