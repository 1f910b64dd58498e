"""Verdicts: matching, exceptions, changed texts, and rules that fail."""

import json
import math
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.errors import BadInput
from heatbath.policy.judgement import build_verdict, merge_spans
from heatbath.policy.normalization import TextView, build_views
from heatbath.policy.phrase_index import PhraseIndex
from heatbath.policy.rule import PhraseMatch, PolicyRule, VerdictEffect


def rule(id, action, *, severity="medium", replacement="[redacted]"):
    effect = VerdictEffect(action, replacement)
    return PolicyRule(id, 1, frozenset({"output"}), (PhraseMatch((id,)),), effect, severity)


SPANS = st.lists(st.tuples(st.integers(0, 19), st.integers(1, 6)).map(lambda at: (at[0], min(20, at[0] + at[1]))))


@given(st.text(st.characters(), min_size=20, max_size=20), SPANS, SPANS)
def test_all_but_the_matched_code_points_stay_as_they_are(text, first, second):
    rules = [rule("a", "modify", replacement="\x01"), rule("b", "modify", replacement="\x02", severity="high")]
    verdict = build_verdict(text, "output", rules=rules, spans={"a": first, "b": second}, failures={})
    covered = {place for start, end in [*first, *second] for place in range(start, end)}
    # Replacements out, what is left is the text without the matched places.
    kept = "".join(each for place, each in enumerate(text) if place not in covered)
    without = {1: None, 2: None}
    assert verdict.text.translate(without) == kept.translate(without)
    assert verdict.action == ("modify" if covered else "allow")
    if not covered:
        assert verdict.text == text
    for a, b in pairwise(verdict.matches):
        assert a.rule != b.rule or a.end < b.start


@given(SPANS)
def test_merged_spans_cover_the_same_places(spans):
    merged = merge_spans(spans)
    assert {p for a, b in merged for p in range(a, b)} == {p for a, b in spans for p in range(a, b)}
    assert all(a[1] < b[0] for a, b in pairwise(merged))


@given(SPANS, SPANS)
def test_an_exception_shields_what_lies_within_one_of_its_matches(shields, spans):
    rules = [rule("a", "deny"), rule("b", "allow")]
    verdict = build_verdict("x" * 20, "output", rules=rules, spans={"a": spans, "b": shields}, failures={})
    open_spans = [span for span in spans if not any(s <= span[0] and span[1] <= e for s, e in shields)]
    assert verdict.action == ("deny" if open_spans else "allow")
    assert [(m.start, m.end) for m in verdict.matches if m.rule == "a"] == merge_spans(open_spans)


PHRASES = st.lists(st.text("abA ß", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=6)


@given(PHRASES, st.text("abA ßé.", max_size=30))
def test_phrases_are_those_that_a_search_finds(phrases, text):
    index = PhraseIndex((phrase, number, False) for number, phrase in enumerate(phrases))
    found = index.find([TextView(text)])
    folded = text.casefold()
    for number, phrase in enumerate(phrases):
        normal = " ".join(phrase.casefold().split(" ")) if "  " not in phrase else None
        if normal is None or normal != normal.strip():
            continue
        count = sum(folded.startswith(normal, i) for i in range(len(folded)))
        assert len(found.get(number, ())) == count


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("an ass brays", True),
        ("the class", False),
        ("ass", True),
        ("ass_1", False),
        ("(ASS)", True),
        ("asse\u0301", False),
        ("中ass文", True),
        ("bad%41 ass%41", True),  # as it is written the word ends there, decoded it does not
        ("as\u200bs", True),
    ],
)
def test_whole_words(write_policy, text, matches):
    policy = write_policy("- {id: a, effect: deny, match: {phrases: ass}}\n")
    assert (policy.judge(text, scope="output").action == "deny") is matches
    assert (
        write_policy("- {id: a, effect: deny, match: {phrases: ass, whole_words: false}}\n")
        .judge("the class", scope="output")
        .matches
    )


POLICY = """
- {id: cards, scope: [output, tool_calls], effect: modify, match: {personal_data: card}, replacement: '"x"'}
- {id: bluebird, scope: both, effect: deny, match: {phrases: project bluebird}}
- {id: keys, effect: escalate, severity: high, match: {regex: ['sk-[0-9]+', 'key:\\s'], ignore_case: false}}
- {id: rude, effect: warn, match: {phrases: [rude word, WORD]}}
- {id: name, effect: allow, match: {phrases: the rude word game}}
"""
SPELLINGS = [
    "project bluebird",
    "Project\nBluebird",
    "ＰＲＯＪＥＣＴ bluebird",
    "pro\u200bject blue\u00adbird",
    "%70roject%20bluebird",
    "&#112;roject&nbsp;bluebird",
    "\\u0070roject bluebird",
]


def test_a_verdict(write_policy):
    policy = write_policy(POLICY)
    found = policy.judge("4111 1111 1111 1111 and 4111111111111111.", scope="output")
    assert (found.action, found.rules, found.text) == ("modify", ("cards",), '"x" and "x".')
    assert [(m.start, m.end) for m in found.matches] == [(0, 19), (24, 40)]
    found = policy.judge("a word, 4111111111111111 sk-12", scope="output")
    assert (found.action, found.rules) == ("escalate", ("cards", "keys", "rude"))
    assert found.text == 'a word, "x" sk-12'
    assert policy.judge("SK-12", scope="output").action == "allow"
    assert policy.judge("key:\nx", scope="output").action == "escalate"
    assert policy.judge("the rude word game", scope="output").action == "allow"
    assert policy.judge("the rude word game has a rude word", scope="output").action == "warn"
    assert policy.judge("", scope="output").action == "allow"
    assert policy.judge("project bluebird", scope="retrieved").action == "allow"
    for scope in ("input", "output"):
        for text in SPELLINGS:
            found = policy.judge(f"On {text}!", scope=scope)
            assert (found.action, found.text) == ("deny", f"On {text}!")
            assert [(m.start, m.end) for m in found.matches] == [(3, 3 + len(text))]


def test_the_same_text_gets_the_same_verdict_whatever_else_is_judged(write_policy):
    policy, again = write_policy(POLICY), write_policy(POLICY)
    texts = [f"{first} {number} {second}" for number in range(20) for first in SPELLINGS for second in ("sk-1", "word")]
    alone = [again.judge(text, scope="output") for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: policy.judge(text, scope="output"), reversed(texts)))
    assert together[::-1] == alone


def test_arguments_of_a_tool_stay_json(write_policy):
    policy = write_policy(POLICY)
    found = policy.judge('{"q": "pay\\n4111111111111111"}', scope="tool_calls")
    assert found.action == "modify" and json.loads(found.text) == {"q": 'pay\n"x"'}
    number = policy.judge('{"q": 4111111111111111}', scope="tool_calls")
    assert (number.action, number.text) == ("deny", '{"q": 4111111111111111}') and "JSON" in number.faults[0]
    words = write_policy("- {id: a, scope: tool_calls, effect: deny, match: {phrases: [secret, so-und]}}\n")
    assert words.judge('{"q": "hi\\nsecret"}', scope="tool_calls").action == "deny"
    assert words.judge('{"q": "\\u0073ecret"}', scope="tool_calls").action == "deny"


def test_input_that_is_no_text_or_scope(write_policy):
    policy = write_policy(POLICY)
    with pytest.raises(BadInput, match="choose from input"):
        policy.judge("x", scope="outputs")
    with pytest.raises(BadInput, match="judges text"):
        policy.judge(b"x", scope="output")


FUNCTIONS = SimpleNamespace(
    __name__="policy_functions",
    broken=lambda text: 1 / 0,
    nan=lambda text: math.nan,
    infinite=lambda text: math.inf,
    words=lambda text: "yes",
    outside=lambda text: [(0, len(text) + 1)],
    number=lambda text: 0.5,
    spans=lambda text: [(i, i + 1) for i, each in enumerate(text) if each == "x"],
    always=lambda text: True,
    leak=lambda text: (_ for _ in ()).throw(ValueError(text)),
)


@pytest.fixture
def functions(monkeypatch):
    monkeypatch.setitem(sys.modules, "policy_functions", FUNCTIONS)


def judge_function(write_policy, name, *, more="", match="", text="a secret x"):
    call = f"{{path: 'policy_functions:{name}'{match}}}"
    policy = write_policy(f"- {{id: f, effect: warn, match: {{function: {call}}}, time_limit: 0.2{more}}}\n")
    return policy.judge(text, scope="output")


@pytest.mark.usefixtures("functions")
@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("broken", ""),
        ("nan", ", above: 0"),
        ("infinite", ", above: 0"),
        ("words", ""),
        ("words", ", below: 1"),
        ("outside", ""),
        ("leak", ""),
        ("number", ""),
    ],
)
def test_a_function_that_fails_closes_the_gate(write_policy, name, match):
    found = judge_function(write_policy, name, match=match)
    assert (found.action, found.rules, found.matches, found.text) == ("deny", ("f",), (), "a secret x")
    (fault,) = found.faults
    assert "'f'" in fault and "deny" in fault and "secret" not in fault
    assert judge_function(write_policy, name, match=match, more=", on_fault: allow").action == "allow"
    assert judge_function(write_policy, name, match=match, more=", on_fault: escalate").action == "escalate"


@pytest.mark.usefixtures("functions")
def test_functions(write_policy):
    assert judge_function(write_policy, "always").matches[0].end == 10
    assert [m.start for m in judge_function(write_policy, "spans").matches] == [9]
    assert judge_function(write_policy, "number", match=", above: 0.4").action == "warn"
    assert judge_function(write_policy, "number", match=", above: 0.5").action == "allow"
    assert judge_function(write_policy, "number", match=", below: 0.6").action == "warn"
    assert judge_function(write_policy, "broken", text="").action == "allow"


def test_a_function_that_hangs(write_policy, monkeypatch):
    release = threading.Event()
    slow = SimpleNamespace(wait=lambda text: release.wait(30))
    monkeypatch.setitem(sys.modules, "slow_functions", slow)
    policy = write_policy("- {id: f, effect: warn, match: {function: 'slow_functions:wait'}, time_limit: 0.05}\n")
    threads = threading.active_count()
    start = time.monotonic()
    verdicts = [policy.judge("x", scope="output") for _ in range(8)]
    assert time.monotonic() - start < 5
    assert {each.action for each in verdicts} == {"deny"} and "longer than 0.05 s" in verdicts[0].faults[0]
    # Threads that nothing can end do not pile up.
    assert threading.active_count() <= threads + 4
    release.set()
    while threading.active_count() > threads:
        time.sleep(0.01)
    assert policy.judge("x", scope="output").action == "warn"


def test_a_hostile_pattern_is_ended(write_policy):
    policy = write_policy("- {id: r, effect: warn, match: {regex: '(a|aa)+$'}, time_limit: 0.1}\n")
    start = time.monotonic()
    found = policy.judge("a" * 60 + "b", scope="output")
    assert found.action == "deny" and found.faults and time.monotonic() - start < 5
    assert policy.judge("aaa", scope="output").action == "warn"


def test_an_exception_that_fails_shields_nothing(write_policy, monkeypatch):
    monkeypatch.setitem(sys.modules, "policy_functions", FUNCTIONS)
    policy = write_policy(
        "- {id: a, effect: warn, match: {phrases: secret}}\n"
        "- {id: b, effect: allow, match: {function: 'policy_functions:broken'}}\n"
    )
    found = policy.judge("a secret", scope="output")
    assert found.action == "warn" and "shield" in found.faults[0]


def test_a_text_of_a_million_characters(write_policy):
    policy = write_policy(POLICY)
    text = "an ordinary word, 1234 5678 " * 36_000 + "sk-1"
    found = policy.judge(text, scope="output")
    assert found.action == "escalate" and len(found.matches) == 36_001


def test_matching_of_a_copy_gives_the_places_of_the_original():
    text = "a\u200bｂ%63"
    view = build_views(text)[1]
    assert view.text == "abc" and [view.original_span(i, i + 1) for i in range(3)] == [(0, 1), (2, 3), (3, 6)]
