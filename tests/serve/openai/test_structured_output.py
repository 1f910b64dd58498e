"""Structured outputs: exact or refused, relaxed and named, checked when they are finished."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import Scripted
from serving import HELLO, Server, server

from heatbath.energy import Context, Grammar
from heatbath.energy.json_schema import close_listed_objects, relax_schema
from heatbath.energy.vocab_bytes import TokenBytesCache
from heatbath.engine.local import EngineConfig, LocalEngine
from heatbath.models import MarkovModel, Vocabulary
from heatbath.serve.openai.json_validation import find_errors

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'


def tool(parameters: Any = None, **more: Any) -> dict[str, Any]:
    parameters = parameters or {"type": "object", "properties": {"x": {"type": "integer"}}}
    return {"type": "function", "function": {"name": "f", "parameters": parameters, **more}}


def form(schema: Any, **more: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **more}}}


def last_reason(answer: Any) -> str:
    lines = [line for line in answer.text.splitlines() if line.startswith("data: {")]
    reasons = [choice["finish_reason"] for line in lines for choice in json.loads(line[6:])["choices"]]
    return str(reasons[-1])


@pytest.mark.parametrize(
    ("text", "more", "reason"),
    [
        (CALL, {}, "tool_calls"),
        (f"{CALL}\n{CALL}", {}, "tool_calls"),
        (CALL[:-20], {}, "stop"),
        (CALL[:-1], {}, "stop"),
        (f"{CALL}\n{CALL[:-25]}", {}, "stop"),
        (CALL[:30], {}, "stop"),
        ("no call", {}, "stop"),
        (CALL, {"max_tokens": len(CALL) - 3}, "length"),
        (CALL, {"max_tokens": 1}, "length"),
    ],
)
def test_tool_calls_are_complete(text: str, more: dict[str, Any], reason: str) -> None:
    asked = {"tools": [tool()], "tool_choice": "required", **more}
    whole = server(Scripted([text])).chat(**asked)
    stream = server(Scripted([text])).chat(stream=True, **asked)
    assert whole.status_code == 200 and whole.json()["choices"][0]["finish_reason"] == reason == last_reason(stream)
    if reason == "tool_calls":
        for call in whole.json()["choices"][0]["message"]["tool_calls"]:
            assert json.loads(call["function"]["arguments"]) == {"x": 1}


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"const": 9007199254740993}, "const"),
        ({"type": "object", "properties": {"id": {"enum": [1234567890123456789]}}}, "enum"),
        ({"type": "integer", "minimum": 9007199254740993, "maximum": 9007199254740993}, "minimum"),
        ({"type": "integer", "multipleOf": 9007199254740993}, "multipleOf"),
        ({"const": {"a": [2**70]}}, "const"),
        ({"anyOf": [{"exclusiveMaximum": -(2**60) - 1}]}, "exclusiveMaximum"),
    ],
)
def test_numbers_that_a_float_lacks_are_refused(schema: Any, keyword: str) -> None:
    for asked, param in (
        (form(schema), "response_format.json_schema.schema"),
        ({"guided_json": schema}, "guided_json"),
        ({"guided_json": json.dumps(schema)}, "guided_json"),
        ({"tools": [tool(), {"type": "function", "function": {"name": "g", "parameters": schema}}]}, "tools[1]"),
    ):
        answer = server(Scripted()).chat(**asked)
        error = answer.json()["error"]
        assert answer.status_code == 400 and f"`{keyword}`" in error["message"], error
        assert error["param"].startswith(param) and "field" not in error["message"]


def test_numbers_that_a_float_holds_are_not() -> None:
    schema = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1, "multipleOf": 2**54}
    assert server(Scripted(["0"])).chat(**form(schema)).headers["x-heatbath-valid"] == "true"
    assert server(Scripted()).chat(guided_json='{"maximum": 0.30000000000000001}').status_code == 400


RELAXED = [
    ({"propertyNames": {"pattern": "^a"}}, "propertyNames", '{"a": 1}', '{"b": 1}'),
    ({"properties": {"a": {"type": "array", "uniqueItems": True}}}, "uniqueItems", '{"a": [1]}', '{"a": [1, 1.0]}'),
    ({"properties": {"a": {"not": {"type": "null"}}}}, "not", '{"a": 1}', '{"a": null}'),
    ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, "if, then", "{}", '{"a": 1}'),
    ({"properties": {"a": {"contains": {"const": 1}}}}, "contains", '{"a": [1]}', '{"a": [2]}'),
    ({"properties": {"a": {"pattern": "^(?=x)xy$"}}}, "pattern", '{"a": "xy"}', '{"a": "x"}'),
    ({"dependentSchemas": {"a": {"required": ["b"]}}}, "dependentSchemas", "{}", '{"a": 1}'),
    ({"dependentRequired": {"a": ["b"]}}, "dependentRequired", "{}", '{"a": 1}'),
    ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, "oneOf", '{"a": 1}', '{"a": 1, "b": 1}'),
    ({"properties": {"a": {"type": "string", "format": "path"}}}, "format", '{"a": "/x"}', '{"a": 1}'),
    ({"allOf": [{}], "unevaluatedProperties": False}, "unevaluatedProperties", "{}", '{"a": 1}'),
]


@pytest.mark.parametrize(("more", "keywords", "good", "bad"), RELAXED, ids=[each[1] for each in RELAXED])
def test_relaxed_keywords_are_named_and_checked(more: Any, keywords: str, good: str, bad: str) -> None:
    schema = {"type": "object", **more}
    for text, valid in ((good, "true"), (bad, "false")):
        engine = Scripted([text])
        answer = server(engine).chat(thermo={}, **form(schema))
        assert answer.headers["x-heatbath-relaxed"] == keywords and answer.headers["x-heatbath-valid"] == valid
        found = answer.json()["thermo"]["structured_output"]
        assert found["valid"] == [valid == "true"] and bool(found["errors"][0]) == (valid == "false")
        assert [each.rpartition("/")[2] for each in found["relaxed"]["response_format.json_schema.schema"]]
        sent = json.loads(engine.requests[0].fields[0].value)
        assert all(f'"{keyword}"' not in json.dumps(sent) for keyword in keywords.split(", ") if keyword != "oneOf")
        stream = server(Scripted([text])).chat(thermo={}, stream=True, **form(schema))
        assert stream.headers["x-heatbath-relaxed"] == keywords and f"\n: valid={valid}\n" in stream.text
        assert '"structured_output"' in stream.text
        call = CALL.replace('{"x": 1}', text)
        called = server(Scripted([call])).chat(tools=[tool(schema)])
        assert called.headers["x-heatbath-relaxed"] == keywords and called.headers["x-heatbath-valid"] == valid
    strict = server(Scripted()).chat(**form({**schema, "additionalProperties": False}, strict=True))
    assert strict.status_code == 400 and keywords.split(", ")[0] in strict.json()["error"]["message"]


def test_what_was_cut_or_merged_is_not_valid() -> None:
    two = {"type": "object", "minProperties": 2}
    assert server(Scripted(['{"a":1,"a":2}'])).chat(**form(two)).headers["x-heatbath-valid"] == "false"
    cut = server(Scripted(['{"a":1,"b":2}'])).chat(max_tokens=5, **form(two))
    assert cut.headers["x-heatbath-valid"] == "unknown" and cut.json()["choices"][0]["finish_reason"] == "length"
    both = server(Scripted(['{"a":1,"b":2}', '{"a"'])).chat(n=2, **form(two))
    assert both.headers["x-heatbath-valid"] == "true, false"
    assert "x-heatbath-valid" not in server(Scripted()).chat().headers
    completion = server(Scripted(["[1]"])).complete("x", guided_json={"type": "object"}, max_tokens=9)
    assert completion.headers["x-heatbath-valid"] == "false"


def test_strict_closes_objects() -> None:
    engine = Scripted(['{"a": {"b": 1}}'])
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {}}}}}
    assert server(engine).chat(**form(schema, strict=True)).status_code == 200
    sent = json.loads(engine.requests[0].fields[0].value)
    assert sent["additionalProperties"] is False and sent["properties"]["a"]["additionalProperties"] is False
    more = server(Scripted(['{"a": {}, "c": 1}'])).chat(**form(schema, strict=True))
    assert more.headers["x-heatbath-valid"] == "false"
    for wrong in ({**schema, "additionalProperties": True}, {"type": "object", "allOf": [schema]}):
        answer = server(Scripted()).chat(tools=[tool(wrong, strict=True)])
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "tools[0].function.parameters"
    lax = Scripted(["{}"])
    server(lax).chat(**form(schema))
    assert "additionalProperties" not in lax.requests[0].fields[0].value


POINT: Any = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
CLOSED = {**POINT, "additionalProperties": False}
WHITE_SPACE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"json": POINT}, CLOSED, ""),
    ({"json": json.dumps(POINT), "disable_additional_properties": True}, CLOSED, ""),
    ({"json": POINT, "disable_additional_properties": False, "disable_fallback": True}, POINT, ""),
    ({"json": POINT, "whitespace_pattern": "[ ]?"}, CLOSED, '{"whitespace_pattern": "[ ]?"}'),
    ({"json": POINT, "disable_any_whitespace": True}, CLOSED, '{"whitespace_pattern": ""}'),
    ({"json_object": True, "disable_any_whitespace": True}, {"type": "object"}, '{"whitespace_pattern": ""}'),
    ({"json": {**POINT, "x-guidance": {"whitespace_flexible": False}}, "whitespace_pattern": " "}, CLOSED,
     '{"whitespace_flexible": false, "whitespace_pattern": " "}'),
    ({"json": "true", "whitespace_pattern": " "}, {}, '{"whitespace_pattern": " "}'),
]  # fmt: skip


@pytest.mark.parametrize(("outputs", "schema", "options"), WHITE_SPACE)
def test_options_of_json_in_structured_outputs(outputs: dict[str, Any], schema: Any, options: str) -> None:
    engine = Scripted(['{"x": 1}'])
    answer = server(engine).chat(structured_outputs=outputs)
    assert answer.status_code == 200 and answer.headers["x-heatbath-valid"] == "true", answer.text
    sent = json.loads(engine.requests[0].fields[0].value)
    assert sent.pop("x-guidance", None) == (json.loads(options) if options else None)
    assert sent == schema


def test_schemas_under_the_names_of_other_servers_are_closed() -> None:
    for body in ({"guided_json": POINT, "guided_whitespace_pattern": "\n?"}, {"json_schema": json.dumps(POINT)}):
        engine = Scripted(['{"x": 1}'])
        assert server(engine).chat(**body).status_code == 200
        sent = json.loads(engine.requests[0].fields[0].value)
        assert sent.pop("x-guidance", {}).get("whitespace_pattern") == body.get("guided_whitespace_pattern")
        assert sent == CLOSED
    # The same schema by a name of OpenAI is the same form, and the narrower one holds.
    engine = Scripted(['{"x": 1}'])
    assert server(engine).chat(**form(POINT), structured_outputs={"json": POINT}).status_code == 200
    assert json.loads(engine.requests[0].fields[0].value) == CLOSED
    differs = server(Scripted()).chat(**form(POINT), structured_outputs={"json": {"type": "object"}})
    assert differs.status_code == 400 and differs.json()["error"]["param"] == "response_format.json_schema.schema"


@pytest.mark.parametrize("options", [5, None, [], "x"])
def test_options_of_the_grammar_are_an_object(options: Any) -> None:
    for more in ({}, {"oneOf": [{}]}):
        answer = server(Scripted(["{}"])).chat(
            guided_json={**more, "x-guidance": options}, guided_whitespace_pattern=""
        )
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "guided_json"


@pytest.mark.parametrize("schema", [{"type": "no"}, {"minimum": "1"}, {"properties": {"a": {"required": True}}}])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    for stream in (False, True):
        answer = server(Scripted()).chat(stream=stream, **form(schema))
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "response_format.json_schema.schema"


@pytest.mark.parametrize("depth", [100, 400, 5000, 100_000])
def test_a_schema_given_as_text_is_not_too_deep(depth: int) -> None:
    text = '{"items":' * depth + "{}" + "}" * depth
    answer = server(Scripted(["[]"])).chat(guided_json=text)
    assert answer.status_code == (200 if depth < 128 else 400)
    assert depth < 128 or answer.json()["error"]["param"] == "guided_json"


def test_schemas_that_are_true_or_absent() -> None:
    for more in (form(True), {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}):
        assert server(Scripted(["[1]"])).chat(**more).headers["x-heatbath-valid"] == "true"


def test_few_tokens_and_impossible_forms() -> None:
    """One rule: a limit of tokens cuts with `length`; only a form without any match is refused."""
    model = MarkovModel(np.random.default_rng(5).normal(size=(4, 4)))
    letters = "".join(model.token_bytes(token).decode() for token in range(3))

    async def ask() -> list[Any]:
        engine = LocalEngine(model, config=EngineConfig(warm_up=False))
        await engine.start()
        made: Server = server(engine)
        transport = httpx2.ASGITransport(made.app)
        try:
            async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http:
                forms = ({"guided_choice": [letters * 5]}, {"guided_regex": f"({letters}){{5}}"}, {"guided_regex": "☃"})
                body = {"model": "mock", "prompt": [0], "max_tokens": 2}
                return [await http.post("/v1/completions", json={**body, **form}) for form in forms]
        finally:
            await engine.close()

    *cut, impossible = asyncio.run(ask())
    for answer in cut:
        assert answer.status_code == 200 and answer.json()["choices"][0]["finish_reason"] == "length"
        assert answer.json()["choices"][0]["text"] == letters[:2]
    error = impossible.json()["error"]
    assert impossible.status_code == 400 and error["param"] == "guided_regex" and "grammar'" not in error["message"]


@pytest.mark.parametrize(
    ("schema", "text", "errors"),
    [
        ({"const": 9007199254740993}, "9007199254740992", 1),
        ({"const": 9007199254740993}, "9007199254740993", 0),
        ({"multipleOf": 0.1}, "0.3", 0),
        ({"multipleOf": 0.1}, "0.35", 1),
        ({"multipleOf": 0.5}, "-0.5", 0),
        ({"multipleOf": 3}, "1e999999999", 1),
        ({"multipleOf": 1e-5}, "1e-999999999", 1),
        ({"multipleOf": 0.01}, "1.10", 0),
        ({"type": "integer"}, "1.0", 0),
        ({"type": "integer"}, "12e-1", 1),
        ({"type": "integer"}, "1e999999999", 0),
        ({"maximum": 0.3}, "0.30", 0),
        ({"maximum": 0.3}, "0.30000000000000001", 1),
        ({"exclusiveMinimum": 0}, "-0.0", 1),
        ({"exclusiveMinimum": 0}, "1e-400", 0),
        ({"pattern": "^a$"}, '"a\\n"', 1),
        ({"pattern": r"^\d$"}, '"٣"', 1),
        ({"pattern": r"^[\d\w]\W$"}, '"é!"', 1),
        ({"pattern": r"^[\d\w]\W$"}, '"_é"', 0),
        ({"pattern": r"^\p{L}+$"}, '"é"', 0),
        ({"type": "string"}, '"\\u00e9"', 0),
        ({"additionalProperties": False, "patternProperties": {"^x": {}}}, '{"xa": 1, "y": 1}', 1),
        (True, "1", 0),
        (False, "1", 1),
        ({}, "NaN", 1),
    ],
)
def test_the_check_is_exact(schema: Any, text: str, errors: int) -> None:
    assert len(find_errors(schema, text) or []) == errors and find_errors(schema, text) is not None


def test_the_check_ends() -> None:
    chain: dict[str, Any] = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    assert find_errors({"$ref": "#/$defs/d0", "$defs": {**chain, "d40": {}}}, "1") is None
    assert find_errors({"$ref": "#"}, "1") is None
    assert find_errors({"$ref": "http://example.com/schema"}, "1") is None
    assert find_errors({"pattern": "(a|aa)+(?=c)$"}, '"' + "a" * 300 + 'b"') in (None, ["$ is invalid by `pattern`"])
    assert find_errors({}, "[" * 100_000) != []


def test_two_tools_and_a_form_are_one_grammar() -> None:
    engine = Scripted(["12"])
    assert server(engine).chat(tools=[tool()], guided_regex="[0-9]+").status_code == 200
    assert "formed: " in engine.requests[0].fields[0].value
    refused = server(Scripted()).chat(tools=[tool()], guided_grammar='start: a\na: "x"')
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "tools"
    assert server(Scripted()).chat(HELLO, tools=[tool()], guided_choice=["a", "b"]).status_code == 200


BYTES = TokenBytesCache([*(bytes([byte]) for byte in range(256)), b"<end>"].__getitem__, 257)
VOCABULARY = Vocabulary(257, stop_token_ids=(256,), special_token_ids=frozenset({256}))
NUMBERS = st.sampled_from([-3, 0, 2, 7, 0.1, 0.3, -0.5, 1.25, 2**53, 1e-7])
LEAVES = st.one_of(
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        st.integers(-20, 20),
        st.integers(0, 9),
    ),
    st.builds(lambda step: {"type": "number", "multipleOf": step}, st.sampled_from([0.5, 0.1, 3, 0.25])),
    st.builds(lambda most: {"type": "number", "maximum": most, "exclusiveMinimum": -10}, NUMBERS),
    st.builds(
        lambda values: {"enum": values}, st.lists(NUMBERS | st.text(max_size=3) | st.none(), min_size=1, max_size=3)
    ),
    st.builds(lambda n: {"type": "string", "minLength": n, "maxLength": n + 2}, st.integers(0, 2)),
    st.sampled_from([{"type": "string", "pattern": "^[a-c]{1,3}$"}, {"type": "string", "format": "date"}]),
    st.sampled_from(
        [{"type": ["boolean", "null"]}, {"const": {"a": [1, 2.5]}}, {"not": {"type": "null"}, "enum": [1]}]
    ),
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2)
    arrays = st.builds(
        lambda items, n, unique: {
            "type": "array",
            "items": items,
            "maxItems": 2 + n,
            "minItems": n,
            "uniqueItems": unique,
        },
        inner,
        st.integers(0, 1),
        st.booleans(),
    )
    objects = named.map(
        lambda each: {"type": "object", "properties": each, "required": sorted(each), "additionalProperties": False}
    )
    return objects | arrays | st.lists(inner, min_size=1, max_size=2).map(lambda each: {"anyOf": each})


SCHEMAS = st.recursive(LEAVES, _objects, max_leaves=4)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(schema=SCHEMAS, seed=st.integers(0, 2**32 - 1))
def test_what_the_grammar_draws_is_valid_but_for_what_was_relaxed(schema: Any, seed: int) -> None:
    relaxed = relax_schema(schema)
    field = Grammar.from_json_schema(relaxed.schema, BYTES, VOCABULARY)
    rng, tokens = np.random.default_rng(seed), []
    for _ in range(300):
        ways = np.flatnonzero(field(Context([tokens], [0], 257, (256,)))[0] == 0).tolist()
        if 256 in ways and (len(ways) == 1 or rng.random() < 0.5 or len(tokens) > 100):
            break
        ascii_only = [token for token in ways if 31 < token < 127] or ways
        tokens.append(int(rng.choice(ascii_only)))
    else:
        return
    text = bytes(tokens).decode(errors="replace")
    assert find_errors(relaxed.schema, text) == [] or "comes twice" in str(find_errors(relaxed.schema, text)), text
    if not relaxed.pointers:
        assert find_errors(schema, text) == find_errors(relaxed.schema, text)


@given(
    schema=st.sampled_from([{"type": "object", **each[0]} for each in RELAXED]),
    value=st.dictionaries(
        st.sampled_from("ab"), st.none() | st.integers(0, 2) | st.lists(st.integers(0, 1)), max_size=2
    ),
)
def test_relaxing_admits_all_that_is_valid(schema: Any, value: Any) -> None:
    text = json.dumps(value)
    if find_errors(schema, text) == []:
        assert find_errors({**relax_schema(schema).schema, "oneOf": [True]}, text) == []


NAMED = st.dictionaries(st.sampled_from("ab"), st.sampled_from([{}, {"type": "integer"}, POINT]), max_size=2)
OBJECTS: Any = st.fixed_dictionaries(
    {"properties": NAMED},
    optional={
        "type": st.just("object"),
        "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        "minProperties": st.integers(0, 3),
        "additionalProperties": st.sampled_from([True, False, {"type": "integer"}]),
        "patternProperties": st.just({"^c$": {"type": "integer"}}),
        "const": st.just({"a": 1, "c": 1}),
    },
)
JOINED: Any = st.recursive(
    OBJECTS,
    lambda inner: st.one_of(
        st.builds(
            lambda each, name: {name: each},
            st.lists(inner, min_size=1, max_size=2),
            st.sampled_from(["allOf", "anyOf"]),
        ),
        st.builds(lambda own, other: {**own, "anyOf": [other]}, inner, inner),
        st.builds(lambda own, other: {**own, "$defs": {"d": other}, "$ref": "#/$defs/d"}, inner, inner),
        st.builds(lambda each: {"$defs": {"d": each}, "$ref": "#/$defs/d"}, OBJECTS),
        st.builds(lambda each: {"properties": {"a": each}}, inner),
    ),
    max_leaves=3,
)
_VALUES = [1, "s", {"x": 1}, {"x": 1, "y": 2}, {"a": 1}]
DOCUMENTS = [
    json.dumps({name: value for name, value in zip("abc", values, strict=True) if value is not None})
    for values in [
        *(
            (first, second, third)
            for first in (None, *_VALUES)
            for second in (None, 1, {"x": 1})
            for third in (None, 1)
        ),
    ]
]


@given(schema=JOINED)
def test_closed_objects_are_the_same_schema_without_what_it_does_not_list(schema: Any) -> None:
    """What is valid stays valid under the given schema, and a schema with valid documents keeps some."""
    closed = close_listed_objects(schema)
    valid = {text for text in DOCUMENTS if find_errors(schema, text) == []}
    kept = {text for text in DOCUMENTS if find_errors(closed, text) == []}
    assert kept <= valid and (kept or not valid)
    assert close_listed_objects(closed) == closed
