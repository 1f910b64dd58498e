"""Grammars against their languages written out, and random answers against the schema."""

import json
import re
import sys
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatbath.energy import Context
from heatbath.energy.grammar import Grammar
from heatbath.energy.grammar_search import find_shortest_match
from heatbath.errors import BadInput, MissingExtra
from heatbath.installation import install_command
from heatbath.models import Vocabulary
from heatbath.testing import check_field

PIECES = [b"a", b"b", b"ab", b"", b"ba", b"<|c|>", b"c", b"<end>", b"<over>"]
VOCABULARY = Vocabulary(len(PIECES), stop_token_ids=(7, 8), special_token_ids=frozenset({5, 7, 8}))
PATTERN = "(ab|ba){1,3}c?|bb"
WORDS = {word for n in range(8) for word in map("".join, product("abc", repeat=n)) if re.fullmatch(PATTERN, word)}

BYTES = [bytes([byte]) for byte in range(256)] + [b'{"', b'":', b'", "', b"12", b"true", b'"}', b"  ", b"<end>"]
BYTE_VOCABULARY = Vocabulary(
    len(BYTES), stop_token_ids=(len(BYTES) - 1,), special_token_ids=frozenset({len(BYTES) - 1})
)
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 3}, "s": {"enum": ["x", "yes"]}, "t": {"type": "boolean"}},
    "required": ["n", "s", "t"],
    "additionalProperties": False,
}
EMPTY = {"type": "integer", "minimum": 5, "maximum": 3}


def regex(pattern, **options):
    return Grammar.from_regex(pattern, PIECES.__getitem__, VOCABULARY, **options)


@pytest.fixture(scope="module")
def field():
    return regex(PATTERN)


def allowed(field, answer, stop=VOCABULARY.stop_token_ids):
    return np.flatnonzero(field(Context([answer], [0], field.vocab_size, stop))[0] == 0).tolist()


@settings(max_examples=200)
@given(answer=st.lists(st.sampled_from([0, 1, 2, 4, 6]), max_size=6))
def test_what_is_allowed_begins_a_match_and_all_that_does_is_allowed(field, answer):
    text = b"".join(PIECES[token] for token in answer).decode()
    expected = [
        token for token in (0, 1, 2, 4, 6) if any(word.startswith(text + PIECES[token].decode()) for word in WORDS)
    ]
    assert allowed(field, answer) == expected + ([7, 8] if text in WORDS else [])


def test_an_answer_that_is_no_beginning_of_a_match_forbids_all(field):
    for answer in ([6], [0, 0], [5], [3], [0, 1, 5]):
        assert allowed(field, answer) == []


def test_stopping_is_for_the_stop_tokens_of_the_context(field):
    assert allowed(field, [1, 1]) == [7, 8] and allowed(field, [1, 1], ()) == []
    assert allowed(field, [2], (7,)) == [0, 1, 2, 4, 6, 7]
    found = field(Context([[2], [2, 7], [0]], [0, 0, 0], len(PIECES), (7, 8), finished_mask=[False, True, False]))
    assert found.dtype == np.float32 and not found[1].any() and found[2].tolist().count(0) == 2


def test_rows_may_be_forked_reopened_and_asked_in_any_order(field):
    rows = [[0, 1, 4], [0], [], [0, 1], [4, 2], [0, 1, 4]]
    together = field(Context(rows, [0] * 6, len(PIECES), (7,)))
    fresh = regex(PATTERN)
    assert [row.tolist() for row in together] == [
        fresh(Context([row], [0], len(PIECES), (7,)))[0].tolist() for row in reversed(rows)
    ][::-1]


@pytest.mark.parametrize("seed", range(5))
def test_random_answers_are_valid_json(seed):
    field = Grammar.from_json_schema(SCHEMA, BYTES.__getitem__, BYTE_VOCABULARY)
    rng, answer = np.random.default_rng(seed), []
    for _ in range(200):
        ways = allowed(field, answer, BYTE_VOCABULARY.stop_token_ids)
        if BYTE_VOCABULARY.stop_token_ids[0] in ways:
            break
        plain = [token for token in ways if BYTES[token].strip() and not (BYTES[token].isdigit() and len(answer) > 40)]
        answer.append(int(rng.choice(plain or ways)))
    value = json.loads(b"".join(BYTES[token] for token in answer))
    assert value["n"] >= 3 and value["s"] in ("x", "yes") and isinstance(value["t"], bool) and len(value) == 3


@pytest.mark.parametrize("blanks", [b" ", b"\n", b"\t", b" \t", b" \n"])
def test_white_space_is_bounded_however_much_it_is_liked(blanks):
    """Draws white space wherever it is allowed, and a line end before anything else."""
    flags = {"type": "array", "items": {"type": "boolean"}, "minItems": 2}
    inner = {"type": "object", "properties": {"a": flags, "b": SCHEMA}, "required": ["a", "b"]}
    for schema in ({**inner, "additionalProperties": False}, flags):
        field = Grammar.from_json_schema(schema, BYTES.__getitem__, BYTE_VOCABULARY)
        rng, answer = np.random.default_rng(0), []
        for _ in range(400):
            ways = allowed(field, answer, BYTE_VOCABULARY.stop_token_ids)
            liked = [token for token in ways if BYTES[token] and not BYTES[token].strip(blanks)]
            closing = [token for token in ways if BYTES[token] in (b"}", b"]", b'"', b"<end>")]
            answer.append(int((liked[-1:] or closing or [rng.choice(ways)])[0]))
            if BYTES[answer[-1]] == b"<end>":
                break
        text = b"".join(BYTES[token] for token in answer[:-1]).decode()
        runs = re.findall(r"\s+", text)
        assert json.loads(text) and runs and all(re.fullmatch(r" |\n[ \t]{0,12}", run) for run in runs), text


def test_options_of_the_library_replace_the_bound():
    schema = {"type": "array", "x-guidance": {"whitespace_flexible": False, "whitespace_pattern": None}}
    field = Grammar.from_json_schema(schema, BYTES.__getitem__, BYTE_VOCABULARY)
    assert b" " not in [BYTES[token] for token in allowed(field, [ord("[")])]
    field = Grammar.from_json_schema({"type": "array"}, BYTES.__getitem__, BYTE_VOCABULARY)
    assert b" " in [BYTES[token] for token in allowed(field, [ord("[")])]


def test_escapes_are_allowed_and_numbers_are_exact():
    def accepts(schema, text):
        field = Grammar.from_json_schema(schema, BYTES.__getitem__, BYTE_VOCABULARY)
        answer = list(text.encode())
        return BYTE_VOCABULARY.stop_token_ids[0] in allowed(field, answer, BYTE_VOCABULARY.stop_token_ids)

    assert accepts({"type": "string"}, '"\\u00e9"') and accepts({"type": "number", "multipleOf": 0.5}, "-0.5")
    assert accepts({"const": 2**60}, str(2**60)) and not accepts({"exclusiveMinimum": 0, "type": "number"}, "0")
    for wrong in ({"const": 2**53 + 1}, '{"minimum": 9007199254740993}', '{"maximum": 0.30000000000000001}'):
        with pytest.raises(BadInput, match="holds"):
            Grammar.from_json_schema(wrong, BYTES.__getitem__, BYTE_VOCABULARY)


def test_a_lark_grammar():
    field = Grammar('start: "a" rest\nrest: "b" | "c" rest', PIECES.__getitem__, VOCABULARY)
    assert allowed(field, []) == [0, 2] and allowed(field, [0]) == [1, 6] and allowed(field, [0, 6, 1]) == [7, 8]
    assert field.shortest_match_length == 1


@pytest.mark.parametrize(
    ("pattern", "length"), [("ab", 1), ("a*", 0), ("aabb", 3), ("c{5}", 5), ("(ab){40}", 40), ("a{3}b{3}", 5)]
)
def test_the_shortest_match_is_found(pattern, length):
    assert regex(pattern).shortest_match_length == length
    assert regex(pattern, max_tokens=max(length, 1)).shortest_match_length == length


@pytest.mark.parametrize(("pattern", "most"), [("aabb", 2), ("c{5}", 4), ("(ab){40}", 39), ("a{3}b{3}c", 5)])
def test_a_grammar_that_cannot_finish_is_refused(pattern, most):
    with pytest.raises(BadInput, match=f"'grammar': no completion .* matches the grammar within {most} tokens"):
        regex(pattern, max_tokens=most)


def test_what_the_search_cannot_decide_is_not_claimed(monkeypatch):
    monkeypatch.setattr("heatbath.energy.grammar_search._MAX_EFFORT", 30)
    assert regex("[abc]{9}bb", max_tokens=3).shortest_match_length is None
    assert regex("a+d").shortest_match_length is None
    with pytest.raises(BadInput, match="within 1 tokens"):
        regex("[abc]{9}bb", max_tokens=1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: regex("a("), r"cannot be parsed: .*unclosed group"),
        (lambda: regex("d"), "no completion in this vocabulary matches the grammar."),
        (lambda: regex("a{9}d"), "no completion in this vocabulary matches the grammar."),
        (lambda: regex(r"[^\s\S]"), "no completion in this vocabulary"),
        (lambda: regex("a", max_tokens=0), "`max_tokens` of field 'grammar' must be .*, got 0"),
        (lambda: Grammar("start: nothing", PIECES.__getitem__, VOCABULARY), "unknown name"),
        (lambda: Grammar.from_json_schema("{", PIECES.__getitem__, VOCABULARY), "the schema is not valid JSON"),
        (lambda: Grammar.from_json_schema({"type": "no"}, PIECES.__getitem__, VOCABULARY), "Invalid type: no"),
        (
            lambda: Grammar.from_json_schema(EMPTY, BYTES.__getitem__, BYTE_VOCABULARY),
            "Unsatisfiable schema",
        ),
    ],
)
def test_broken_grammars_are_one_sentence(make, said):
    with pytest.raises(BadInput, match=said) as raised:
        make()
    assert "\n" not in str(raised.value) and "state" not in str(raised.value)


def test_dead_ends_of_a_small_vocabulary_are_forbidden_throughout():
    field = regex("ac|bd")
    assert allowed(field, [1]) == [] and allowed(field, [0]) == [6]


def test_without_the_library_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtra, match=r"the grammar field needs .*" + re.escape(install_command("grammar"))):
        regex("ab")


def test_contract(field):
    check_field(field, Context([[0, 1, 2, 1], [3], [], [2, 0], [1, 0, 6]], [2, 1, 0, 1, 0], len(PIECES), (7, 8)))


class CountedParser:
    """A parser that never ends, of which every copy is counted while it lives."""

    alive = most = 0

    def __init__(self) -> None:
        CountedParser.alive += 1
        CountedParser.most = max(CountedParser.most, CountedParser.alive)

    def __del__(self) -> None:
        CountedParser.alive -= 1

    def is_accepting(self) -> bool:
        return False

    def deep_copy(self) -> "CountedParser":
        return CountedParser()

    def try_consume_tokens(self, tokens: list[int]) -> int:
        return len(tokens)


def test_the_search_for_a_match_holds_few_parsers():
    """A parser of llguidance takes 10 KB: one for every token of a vocabulary would be 0.5 GB."""
    every_token = np.full(400 // 8, 255, np.uint8)
    pieces = [bytes([65 + i % 26]) * (1 + i // 26) for i in range(400)]
    found = find_shortest_match(CountedParser(), lambda matcher: every_token, pieces, max_tokens=3)
    assert found.length is None and CountedParser.most < 250
