"""Bodies of every kind: an answer of the schema, or an error with four keys that names the field; nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import Scripted
from serving import HELLO, Server, server

from heatbath.engine.mock import MockEngine
from heatbath.errors import BadInput
from heatbath.serve.openai.schema.chat import ChatRequest
from heatbath.serve.openai.schema.completions import CompletionRequest
from heatbath.serve.openai.schema.decisions import DecisionRequest
from heatbath.serve.openai.schema.models import DetokenizeRequest, TokenizeRequest

TOOL = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module")
def made() -> Server:
    return server(Scripted(["Hello."]), limits={"max_tokens": 64})


def checked(answer: Any) -> dict[str, Any] | None:
    """The error of an answer, None for a good one."""
    assert answer.headers["x-request-id"]
    if answer.status_code < 300:
        return None
    assert answer.status_code < 500, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith(".") and "\n" not in error["message"]
    assert "Traceback" not in error["message"] and "object at 0x" not in error["message"]
    return error


REFUSED: list[tuple[str, Any, str | None]] = [
    ("temperature", -0.1, None),
    ("temperature", "hot", None),
    ("top_p", 1.5, None),
    ("n", 0, None),
    ("n", 129, None),
    ("n", 1.5, None),
    ("top_logprobs", 21, None),
    ("top_logprobs", 2, None),
    ("presence_penalty", 2.5, None),
    ("frequency_penalty", -3, None),
    ("max_tokens", -1, None),
    ("max_tokens", 100_000, None),
    ("max_completion_tokens", 100_000, None),
    ("seed", 2**63, None),
    ("stop", ["x"] * 10_000, None),
    ("stop", [""], "stop[0]"),
    ("logit_bias", {"17": 101}, None),
    ("logit_bias", {"hello": 1}, None),
    ("logit_bias", {"400": 1}, None),
    ("messages", [], None),
    ("messages", None, None),
    ("messages", [{"role": "king", "content": "x"}], "messages[0].role"),
    ("messages", [{"role": "user"}], "messages[0].content"),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
     "messages[0].content[0].type"),
    ("messages", [{"role": "assistant", "content": "x", "audio": {"id": "a"}}], "messages[0].audio"),
    ("modalities", ["text", "audio"], None),
    ("audio", {"voice": "alloy"}, None),
    ("web_search_options", {}, None),
    ("moderation", {"model": "m", "policy": {"output": {"mode": "block"}}}, None),
    ("functions", [{"name": "f"}], None),
    ("function_call", {"name": "f"}, None),
    ("echo", True, None),
    ("best_of", 2, None),
    ("suffix", "x", None),
    ("chat_template", "{{ x }}", None),
    ("chat_template_kwargs", {"bos_token": "x"}, None),
    ("documents", [{"text": "x"}], None),
    ("logits_processors", ["os:system"], None),
    ("use_beam_search", True, None),
    ("truncate_prompt_tokens", 5, None),
    ("tools", [{"type": "custom", "custom": {"name": "x"}}], "tools[0].type"),
    ("tools", [{"type": "function", "function": {"name": "a b"}}], "tools[0].function.name"),
    ("tool_choice", "required", None),
    ("response_format", {"type": "xml"}, "response_format.type"),
    ("response_format", {"type": "json_schema"}, "response_format.json_schema"),
    ("structured_outputs", {"structural_tag": "x"}, "structured_outputs.structural_tag"),
    ("stop_token_ids", [400], None),
    ("allowed_token_ids", [400], None),
    ("metadata", {"a": "b" * 513}, None),
    ("thermo", {"sampler": "smd"}, "thermo.sampler"),
    ("thermo", {"fields": {"product": "x"}}, "thermo.fields"),
    ("thermo", {"potentials": ["function"]}, "thermo.potentials"),
    ("thermo", {"fields": [5]}, "thermo.fields[0]"),
    ("thermo", {"schedule": {"linear": {}, "cosine": {}}}, "thermo.schedule"),
    ("thermo", {"no_such": 1}, "thermo.no_such"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "param"), REFUSED)
def test_what_is_wrong_is_named(name: str, value: Any, param: str | None, made: Server) -> None:
    error = checked(made.chat(**{name: value}))
    assert error is not None and error["param"] == (param or name)


@pytest.mark.parametrize(
    "value",
    [
        {"best_of": 1, "n": 2},
        {"best_of": 2, "stream": True},
        {"logprobs": 6},
        {"suffix": "x"},
        {"prompt": [1, "a"]},
        {"prompt": [[400]]},
        {"prompt": []},
        {"prompt": "x" * 5000},
        {"prompt_logprobs": 1, "stream": True},
    ],
)
def test_what_completions_do_not_take_is_named(value: dict[str, Any], made: Server) -> None:
    error = checked(made.complete(**{"prompt": "x", **value}))
    assert error is not None and error["param"].partition("[")[0] == next(iter(value))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"[1]", "send a JSON object"),
        (b"{", "not valid JSON"),
        (b'{"model": "\xff"}', "not UTF-8"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested"),
        (b"[" * 200_000, "nested"),
        (b'{"model": "mock", "messages": [], "presence_penalty": NaN}', "presence_penalty is not a finite number"),
        (b'{"model": "mock", "temperature": 1e999}', "temperature is not a finite number"),
        (b'{"model": "mock", "logit_bias": {"1": -Infinity}}', "logit_bias.1 is not a finite number"),
        (b'{"model": "mock", "messages": [{"role": "user", "content": "\\ud800"}]}', "not valid JSON"),
    ],
)
def test_bodies_that_are_no_request(body: bytes, said: str, made: Server) -> None:
    headers = {"content-type": "application/json"}
    answer = made.client.post("/v1/chat/completions", content=body, headers=headers)
    error = checked(answer)
    assert answer.status_code in (400, 415) and error is not None and said in error["message"]


def test_harmless_fields_are_accepted_and_told(made: Server) -> None:
    harmless = {"verbosity": "low", "service_tier": "auto", "prediction": {"type": "content", "content": "x"}}
    answer = made.chat(**harmless, prompt_cache_key="k", modalities=["text"], **{"odd\r\nname": 1})
    assert answer.headers["x-heatbath-ignored"] == "verbosity, service_tier, prediction, prompt_cache_key, ?"


def test_without_more_fields_nothing_is_told_and_the_answer_is_plain(made: Server) -> None:
    answer = made.chat(temperature=0.5, seed=3)
    assert "x-heatbath-ignored" not in answer.headers
    assert set(answer.json()["choices"][0]) == {"index", "message", "logprobs", "finish_reason"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
SANE: dict[str, st.SearchStrategy[Any]] = {
    "model": st.just("mock"),
    "messages": st.just(HELLO),
    "prompt": st.sampled_from(["x", ["x", "y"], [1, 2], [[1]], ""]),
    "stream": st.booleans(),
    "n": st.integers(1, 2),
    "max_tokens": st.integers(0, 4),
    "best_of": st.integers(0, 2),
    "echo": st.booleans(),
    "thermo": st.fixed_dictionaries(
        {}, optional={"records": st.booleans(), "fields": JSON, "sampler": st.text(max_size=3)}
    ),
    "stop": st.lists(st.text(max_size=2), max_size=2),
    "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
    "input": st.just("x"),
    "questions": st.just([{"type": "predicate", "instructions": "x"}]),
    "tokens": st.just([72]),
}
ROUTES = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/v1/decisions": DecisionRequest,
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data(), path=st.sampled_from(sorted(ROUTES)))
def test_any_body_has_an_answer_or_an_error(data: Any, path: str, made: Server) -> None:
    names = st.sampled_from(ROUTES[path].__struct_encode_fields__)
    body = {name: data.draw(SANE[name]) for name in SANE if name in ROUTES[path].__struct_encode_fields__}
    for name in data.draw(st.lists(names, max_size=3)):
        body[name] = data.draw(JSON)
    headers = {"content-type": "application/json"}
    answer = made.client.post(path, content=json.dumps(body).encode(errors="replace"), headers=headers)
    checked(answer)
    assert made.services.engine.stats.running == 0


@pytest.mark.parametrize(
    ("body", "fields", "param"),
    [
        ({}, {"param": "temperature"}, "temperature"),
        ({"guided_regex": "x"}, {"param": "fields", "component": "regex"}, "guided_regex"),
        ({"tools": [TOOL]}, {"param": "fields", "component": "lark"}, "tools"),
        ({"thermo": {}}, {"param": "windows", "component": "top_k"}, "thermo"),
        ({}, {}, None),
    ],
)
def test_the_fields_of_an_engines_error_name_the_parameter(
    body: dict[str, Any], fields: dict[str, str], param: str | None
) -> None:
    made = server(MockEngine(fault=BadInput("whatever the message says.", **fields)))  # type: ignore[arg-type]
    error = checked(made.chat(**body))
    assert error is not None and (error["param"], error["message"]) == (param, "whatever the message says.")
