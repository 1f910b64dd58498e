"""Every field of a request means what it says: it is honoured, refused with its name, or listed in the header."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Scripted
from serving import HELLO, Server, server

from heatbath.engine.base import ComponentSpec, Request
from heatbath.serve.model_names import EMBEDDING_MODEL, build_model_names
from heatbath.serve.openai.refusals import CHAT_REFUSALS, COMPLETION_REFUSALS
from heatbath.serve.openai.schema.chat import ChatRequest
from heatbath.serve.openai.schema.completions import CompletionRequest
from heatbath.serve.settings import ModelSettings

TOOL = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "object"}


@pytest.fixture(scope="module")
def made() -> Server:
    return server(Scripted(["Hello."]), limits={"max_tokens": 64})


def refused(answer: Any) -> str:
    """The parameter of a 400."""
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["param"])


def last_request(made: Server, **body: Any) -> Request:
    """The request that the engine gets for a chat."""
    answer = made.chat(**body)
    assert answer.status_code == 200, answer.text
    assert isinstance(made.services.engine, Scripted)
    return made.services.engine.requests[-1]


INSIDE: list[tuple[dict[str, Any], str]] = [
    ({"response_format": {"type": "json_object", "schema": SCHEMA}}, "response_format.schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schmea": SCHEMA}}},
     "response_format.json_schema.schmea"),
    ({"tools": [{"type": "function", "function": {"name": "f", "paramters": SCHEMA}}]},
     "tools[0].function.paramters"),
    ({"tools": [{**TOOL, "strict": True}]}, "tools[0].strict"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}}, "tool_choice.name"),
    ({"structured_outputs": {"regex": "x", "pattern": "y"}}, "structured_outputs.pattern"),
    ({"structured_outputs": {"regex": "x", "whitespace_pattern": "y"}}, "structured_outputs.whitespace_pattern"),
    ({"structured_outputs": {"choice": ["x"], "disable_any_whitespace": True}},
     "structured_outputs.disable_any_whitespace"),
    ({"structured_outputs": {"grammar": "x", "disable_additional_properties": True}},
     "structured_outputs.disable_additional_properties"),
    ({"structured_outputs": {"json": SCHEMA, "disable_any_whitespace": True, "whitespace_pattern": " ?"}},
     "structured_outputs.whitespace_pattern"),
    ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage"),
    ({"thermo": {"smapler": "greedy"}}, "thermo.smapler"),
    ({"messages": [{"role": "user", "content": "x", "images": ["…"]}]}, "messages[0].images"),
    ({"messages": [{"role": "assistant", "content": "x", "prefix": True}]}, "messages[0].prefix"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "param"), INSIDE)
def test_unknown_fields_inside_objects_are_refused(body: dict[str, Any], param: str, made: Server) -> None:
    assert refused(made.chat(**body)) == param


def test_unknown_fields_of_messages_are_listed(made: Server) -> None:
    """A client sends back what another server has added."""
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    call = {"id": "a", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}", "parsed": {}}}
    messages = [
        {"role": "user", "content": [part, part]},
        {"role": "assistant", "content": "y", "annotations": [], "audio": None, "tool_calls": [call]},
    ]
    answer = made.chat(messages)
    listed = "messages.content.cache_control, messages.annotations, messages.tool_calls.index, "
    assert answer.headers["x-heatbath-ignored"] == listed + "messages.tool_calls.function.parsed"


REQUIRED: list[tuple[Any, str]] = [
    ([{"type": "text", "txt": "Hello"}], "messages[0].content[0].text"),
    ([{"type": "text"}], "messages[0].content[0].text"),
    ([{"type": "text", "refusal": "no"}], "messages[0].content[0].text"),
    ([{"type": "refusal", "text": "no"}], "messages[0].content[0].refusal"),
    ([{"text": "x"}], "messages[0].content[0].type"),
]


@pytest.mark.parametrize(("content", "param"), REQUIRED)
def test_parts_have_what_their_type_requires(content: Any, param: str, made: Server) -> None:
    assert refused(made.chat([{"role": "user", "content": content}])) == param


OTHER_SERVERS = [
    *("grammar", "guided_decoding", "max_new_tokens", "repeat_penalty", "mirostat", "min_new_tokens", "tfs_z"),
    *("stop_sequences", "no_repeat_ngram_size", "extra_body", "options", "system", "stop_regex", "lora_path"),
]


@pytest.mark.parametrize("name", OTHER_SERVERS)
def test_names_of_other_servers_are_refused_with_what_to_give(name: str, made: Server) -> None:
    for answer in (made.chat(**{name: 2}), made.complete("x", **{name: 2})):
        assert refused(answer) == name and answer.json()["error"]["code"] == "unsupported_parameter"


@pytest.mark.parametrize(
    ("name", "value"),
    [("do_sample", True), ("repeat_penalty", 1.0), ("mirostat", 0), ("num_beams", 1), ("use_beam_search", False)],
)
def test_values_that_ask_for_nothing_are_taken(name: str, value: Any, made: Server) -> None:
    assert made.chat(**{name: value}).status_code == 200


def test_do_sample_false_is_refused(made: Server) -> None:
    assert refused(made.chat(do_sample=False)) == "do_sample"


def test_no_field_is_both_served_and_refused() -> None:
    assert not set(CHAT_REFUSALS) & set(ChatRequest.__struct_fields__)
    assert not set(COMPLETION_REFUSALS) & set(CompletionRequest.__struct_fields__)


@pytest.mark.parametrize("name", ["temprature", "max_token", "top_P", "logit_biass", "respons_format", "stopp"])
def test_misspelt_fields_are_refused(name: str, made: Server) -> None:
    answer = made.chat(**{name: 1})
    assert refused(answer) == name and "did you mean" in answer.json()["error"]["message"]


HARMLESS = [
    *("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "verbosity", "prediction"),
    *("reasoning_effort", "cache_prompt", "id_slot", "keep_alive", "guided_decoding_backend", "include_reasoning"),
]


@pytest.mark.parametrize("name", HARMLESS)
def test_other_fields_are_listed(name: str, made: Server) -> None:
    answer = made.chat(**{name: "x"})
    assert (answer.status_code, answer.headers.get("x-heatbath-ignored")) == (200, name)


WITHOUT_EFFECT: list[tuple[str, dict[str, Any]]] = [
    ("stream_options", {"stream_options": {"include_usage": True}}),
    ("stream_options", {"stream_options": {}, "stream": False}),
    ("top_logprobs", {"top_logprobs": 1}),
    ("return_tokens_as_token_ids", {"return_tokens_as_token_ids": True}),
    ("xtc_threshold", {"xtc_threshold": 0.1}),
    ("xtc_probability", {"xtc_probability": 0.5}),
    ("dry_base", {"dry_base": 2}),
    ("dry_sequence_breakers", {"dry_sequence_breakers": ["x"]}),
    ("logit_bias", {"logit_bias": {"5": 100, "05": -100}}),
    ("max_tokens", {"max_tokens": 5, "max_completion_tokens": 6}),
    ("min_tokens", {"min_tokens": 5, "max_tokens": 4}),
    ("n", {"n": 65}),
    ("guided_regex", {"guided_regex": "x", "structured_outputs": {"regex": "y"}}),
    ("guided_whitespace_pattern", {"guided_whitespace_pattern": " ?"}),
]


@pytest.mark.parametrize(("param", "body"), WITHOUT_EFFECT)
def test_fields_without_effect_are_refused(param: str, body: dict[str, Any], made: Server) -> None:
    assert refused(made.chat(**body)) == param


def test_an_id_that_is_given_twice_is_refused(made: Server) -> None:
    """JSON readers keep the last of two equal names."""
    body = b'{"model": "mock", "prompt": "x", "logit_bias": {"5": 100, "5": -100}}'
    answer = made.client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert refused(answer) == "logit_bias" and "given twice" in answer.json()["error"]["message"]


def test_equal_forms_by_two_names_are_one_form(made: Server) -> None:
    grammar = 'start: "a"'
    found = last_request(made, guided_grammar=grammar, structured_outputs={"grammar": grammar})
    assert [each for each in found.fields if each.name == "lark"] == [ComponentSpec("lark", grammar)]
    spaced = last_request(made, guided_json='{"type":  "object"}', structured_outputs={"json": SCHEMA})
    assert len(spaced.fields) == 1


def test_names_of_sglang_are_served(made: Server) -> None:
    assert ComponentSpec("regex", "[0-9]{4}") in last_request(made, regex="[0-9]{4}").fields
    assert ComponentSpec("json_schema", '{"type": "object"}') in last_request(made, json_schema=SCHEMA).fields
    assert ComponentSpec("lark", 'start: "a"') in last_request(made, ebnf='start: "a"').fields


def test_dry_takes_its_options(made: Server) -> None:
    found = last_request(made, dry_multiplier=0.5, dry_base=2, dry_allowed_length=3, dry_penalty_last_n=-1)
    assert found.fields == (ComponentSpec("dry", {"multiplier": 0.5, "base": 2.0, "allowed_length": 3}),)


def test_small_differences_of_clients_are_taken(made: Server) -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None}, *HELLO]
    assert made.chat(messages).status_code == 200
    assert last_request(made, max_tokens=2.0, n=1.0).max_tokens == 2
    assert refused(made.chat(max_tokens=2.5)) == "max_tokens"
    assert refused(made.chat([{"role": "user", "content": None}])) == "messages[0].content"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"stop": ""}, 'stop is "": give a text with at least 1 character.'),
        ({"tools": [{"type": "function", "function": {"name": "a.b"}}]},
         'tools[0].function.name is "a.b": give a text that matches ^[A-Za-z0-9_-]{1,64}$.'),
        ({"temperature": 1e308}, "temperature is 1e+308: give a number of at most 1e+30."),
        ({"top_p": 1.5}, "top_p is 1.5: give a number of at most 1."),
    ],
)  # fmt: skip
def test_messages_state_the_bound(body: dict[str, Any], said: str, made: Server) -> None:
    assert made.chat(**body).json()["error"]["message"] == said


@given(st.sampled_from([0, 0.0, -0.0]))
def test_zero_is_zero_whatever_its_sign(temperature: float) -> None:
    found = last_request(server(Scripted(["x"])), temperature=temperature).temperature
    assert str(found) == "0.0"


@pytest.mark.parametrize("path", ["chat", "complete", "decide"])
def test_context_overflow_is_said_in_the_words_that_clients_look_for(path: str, made: Server) -> None:
    """langchain-openai looks for the code in the text of the error, litellm for the first words, in lower case."""
    long = "x" * 5000
    answers = {
        "chat": lambda: made.chat([{"role": "user", "content": long}]),
        "complete": lambda: made.complete(long),
        "decide": lambda: made.post(
            "/v1/decisions", {"input": long, "questions": [{"type": "predicate", "instructions": "x"}]}
        ),
    }
    error = answers[path]().json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"].startswith("This model's maximum context length is 4096 tokens. However, ")


def test_more_tokens_than_fit_are_said_in_these_words_too(made: Server) -> None:
    error = made.complete("x" * 4090, max_tokens=64).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "max_tokens")
    assert "this model's maximum context length is 4096 tokens" in error["message"].lower()


def test_aliases_can_name_the_embedding_model() -> None:
    aliases = {"text-embedding-3-small": EMBEDDING_MODEL, "gpt": "smollm2-135m", "small": "text-embedding-3-small"}
    names = build_model_names(ModelSettings(aliases=aliases))
    assert names.all_names == ["smollm2-135m", "gpt"]
    assert names.resolve_embedding("small") == names.resolve_embedding("text-embedding-3-small") == EMBEDDING_MODEL
    assert names.embedding_names == [EMBEDDING_MODEL, "text-embedding-3-small", "small"]


def test_the_dtypes_that_settings_take_are_those_that_models_have() -> None:
    from typing import get_args

    from heatbath.models.hub.load_local import DTYPES

    choices, _ = get_args(ModelSettings.model_fields["dtype"].annotation)
    assert set(get_args(choices)) == set(DTYPES)
