"""What goes beyond the OpenAI answer: records, sums, edges, samplers of whole answers, and odds of labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Scripted
from serving import server

from heatbath.engine.base import ComponentSpec, Finished, Token
from heatbath.serve.openai.decisions import exclusive_probabilities, normalize
from heatbath.serve.openai.outputs import summarize_records
from heatbath.serve.openai.thermo import locate_edges, response_thermo
from heatbath.serve.openai.tool_calls import ArgumentsDelta, CallStart, TextDelta, ToolCallReader


@dataclass
class Edge:
    name: str
    temperature: float | None
    interval: tuple[float, float] | None


@dataclass
class Map:
    edges: list[Edge]


CHART = Map([Edge("freeze", 0.5, (0.4, 0.6)), Edge("melt", None, None)])


@pytest.mark.parametrize(
    ("temperatures", "side"),
    [
        ([0.1, 0.3], "below"),
        ([0.4, 0.6], "inside"),
        ([0.7, 0.7], "above"),
        ([0.3, 0.5], "across"),
        ([0.1, 2], "across"),
    ],
)
def test_where_the_temperatures_lie(temperatures: list[float], side: str) -> None:
    found = locate_edges(CHART, temperatures)
    assert found["freeze"]["side"] == side and found["freeze"]["inside"] == (side == "inside")
    assert found["melt"] is None
    assert locate_edges(None, temperatures) == {}


def test_a_choice_says_what_it_cost() -> None:
    made = server(Scripted(["AB"]), phase_map=CHART)
    body = made.chat(thermo={"records": True}, seed=3).json()
    (choice,) = body["choices"]
    found = choice["thermo"]["summary"]
    assert found["n"] == 3 and found["logprob"] == pytest.approx(-(65 + 66 + 256) / 100)
    assert found["logprob_at_temperature"] == -1.5 and found["surprisal"] == 0.5
    assert found["log_z"] == pytest.approx(math.log(2)) and found["temperature"] == [0.8, 0.8]
    assert found["work"]["bias"] == pytest.approx(0.3) and found["kept_mass"]["top_p=0.9"] == pytest.approx(0.95)
    assert choice["thermo"]["edges"]["freeze"]["side"] == "above"
    assert choice["thermo"]["records"]["text"] == ["A", "B", "<end>"]
    assert body["thermo"]["seed"] == 3 and body["thermo"]["log_z"] == -3.5 and body["thermo"]["stored"] is True


def test_the_request_reaches_the_engine_as_it_was_asked() -> None:
    engine = Scripted()
    steer = {
        "record": "full",
        "sampler": "smc",
        "options": {"particles": 8},
        "schedule": {"linear": {"start": 1.2, "end": 0.4}},
        "windows": {"typical": 0.9},
        "fields": [{"bias": {"65": 1.0}}, {"bias": {"66": 1.0}}],
        "potentials": ["finished"],
    }
    assert server(engine).chat(thermo=steer, top_k=5, frequency_penalty=0.5).status_code == 200
    (request,) = engine.requests
    assert (request.record, request.sampler, request.options) == ("full", "smc", {"particles": 8})
    assert request.schedule == ComponentSpec("linear", {"start": 1.2, "end": 0.4})
    assert request.windows == (ComponentSpec("top_k", 5), ComponentSpec("typical", 0.9))
    assert [field.name for field in request.fields] == ["frequency", "bias", "bias"]
    assert request.potentials == (ComponentSpec("finished"),)


@pytest.mark.parametrize("stream", [False, True])
def test_of_many_answers_the_engines_own_choice_is_given(stream: bool) -> None:
    made = server(Scripted(["no", "yes", "maybe"], value=1))
    answer = made.chat(thermo={"sampler": "smc"}, stream=stream)
    (kept,) = made.store.answers.values()
    assert kept.content is not None and kept.content["answers"] == ["yes"]
    assert ("maybe" in answer.text) is False and answer.status_code == 200
    assert kept.completion_tokens == 3 + 4 + 6


def test_a_run_that_has_not_converged_says_so_in_place_of_log_z() -> None:
    ended = Finished(log_z=None, unreliable_reason="log Z = -3.5 ± 0.1 and means are not reliable: r_hat is 1.9.")
    output = SimpleNamespace(began=None, ended=ended)
    found = response_thermo([output], None)  # type: ignore[list-item]
    assert found["log_z"] is None and found["unreliable"] == ended.unreliable_reason


def test_the_best_of_many_is_the_most_likely_token_by_token() -> None:
    made = server(Scripted(["zzzz", "AA", "AAAAAAAA"]))
    (choice,) = made.complete("x", best_of=3, max_tokens=8).json()["choices"]
    assert choice["text"] == "AAAAAAAA"


def test_extensions_become_fields_and_windows() -> None:
    engine = Scripted()
    asked = {"min_tokens": 2, "bad_words": ["x y"], "repetition_penalty": 1.2, "min_p": 0.1, "top_p": 0.0}
    more = {"allowed_token_ids": [65], "logit_bias": {"66": -100, "foo": 0}, "ignore_eos": True, "seed": -1}
    assert server(engine).chat(**asked, **more, stop_token_ids=[67], priority=3, cache_salt="s").status_code == 200
    (request,) = engine.requests
    values = {field.name: field.value for field in request.fields}
    assert values["min_length"] == 2 and values["forbid"] == ["x y"] and values["repetition"] == 1.2
    assert values["bias"] == {"66": -100} and set(range(257)) - set(values["forbid_tokens"]) == {65}
    assert request.windows == (ComponentSpec("top_k", 1), ComponentSpec("min_p", 0.1))
    assert request.stop_token_ids == (67,) and (request.priority, request.salt) == (3, "s")
    assert request.seed == 2**63 - 1


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"response_format": {"type": "json_object"}}, ComponentSpec("json_schema", '{"type": "object"}')),
        ({"structured_outputs": {"regex": "[0-9]+"}}, ComponentSpec("regex", "[0-9]+")),
        ({"guided_choice": ["a", 'b"']}, ComponentSpec("lark", 'start: "a" | "b\\""')),
        ({"guided_json": {"type": "string"}}, ComponentSpec("json_schema", '{"type": "string"}')),
        ({"structured_outputs": {"grammar": 'start: "x"'}}, ComponentSpec("lark", 'start: "x"')),
    ],
)
def test_the_form_of_an_answer(asked: dict[str, Any], field: ComponentSpec) -> None:
    engine = Scripted()
    assert server(engine).chat(**asked).status_code == 200
    assert list(engine.requests[0].fields) == [field]


def test_two_forms_are_refused() -> None:
    answer = server().chat(guided_regex="x", response_format={"type": "json_object"})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "response_format"


def test_a_label_that_begins_another_counts_without_it() -> None:
    labels = [(1,), (1, 2), (1, 2, 3), (4,)]
    found = exclusive_probabilities(labels, [math.log(p) for p in (0.5, 0.3, 0.1, 0.2)])
    assert found == pytest.approx([0.2, 0.2, 0.1, 0.2])
    assert normalize(found) == (pytest.approx([2 / 7, 2 / 7, 1 / 7, 2 / 7]), pytest.approx(0.7))
    assert normalize([0.0, 0.0]) is None


@given(
    tree=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=4).map(tuple), min_size=1, max_size=8, unique=True)
)
def test_labels_share_what_a_random_text_can_begin_with(tree: list[tuple[int, ...]]) -> None:
    """Fair coins: the mass is that of the beginnings that no other label begins."""
    found = exclusive_probabilities(tree, [-len(label) * math.log(2) for label in tree])
    tops = [label for label in tree if not any(label[: len(o)] == o for o in tree if len(o) < len(label))]
    assert math.fsum(found) == pytest.approx(math.fsum(2.0 ** -len(label) for label in tops))
    assert min(found) >= 0


def test_sums_leave_out_what_is_not_there() -> None:
    token = Token(1, -0.5, (), {"logprob": float("nan"), "entropy": 1.0, "temperature": 1.0})
    found = summarize_records([token, Token(2, None)])
    assert found["entropy"] == 1.0 and found["surprisal"] is None and found["n"] == 2
    assert summarize_records([]) == {"n": 0, "logprob": 0}


@given(cuts=st.lists(st.integers(0, 130), max_size=12), text=st.sampled_from(["", "a <tool_call b", "x <", "y"]))
def test_calls_are_read_however_the_text_is_cut(cuts: list[int], text: str) -> None:
    call = '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>'
    calls = call % ("f", '{"x": "}"}') + "\n" + call % ("g", "{}")
    whole, reader, parts = text + calls, ToolCallReader(), []
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    for low, high in pairwise(places):
        parts += reader.push(whole[low:high])
    parts += reader.finish()
    assert "".join(part.text for part in parts if isinstance(part, TextDelta)) == text
    assert [part.name for part in parts if isinstance(part, CallStart)] == ["f", "g"]
    given = [
        "".join(part.text for part in parts if isinstance(part, ArgumentsDelta) and part.index == i) for i in (0, 1)
    ]
    assert given == ['{"x": "}"}', "{}"]
