"""Weighted automata and grammars against enumeration: weights of texts, of prefixes, and potentials made of them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heatbath as hb
from heatbath.energy.base import Context
from heatbath.energy.grammar_rules import parse_rules
from heatbath.energy.potentials import LanguageWeight
from heatbath.energy.weighted_automaton import WeightedAutomaton
from heatbath.energy.weighted_grammar import WeightedGrammar
from heatbath.engine.registry import POTENTIALS, BuildContext, build
from heatbath.errors import BadInput
from heatbath.testing import check_potential

TEXTS = [bytes(text) for length in range(6) for text in itertools.product(b"ab", repeat=length)]


def prefix_weight(language, text):
    data = text.encode() if isinstance(text, str) else text
    return math.exp(language.log_prefix_weight(language.extend(language.start(), data)))


def weight(language, text):
    return math.exp(language.score(text))


def assert_adds_up(language, alphabet, depth=4, tolerance=1e-10):
    """Texts that begin with x are x itself and those that begin with x and one more byte."""
    for length in range(depth):
        for text in map(bytes, itertools.product(alphabet, repeat=length)):
            further = sum(prefix_weight(language, text + bytes([byte])) for byte in alphabet)
            whole = prefix_weight(language, text)
            assert weight(language, text) + further == pytest.approx(whole, rel=tolerance, abs=1e-300)


# Automata


def path_weight(arcs, final, state, text, depth=40):
    """The weight of a text by walking all paths; loops of empty labels to a depth."""
    total = final.get(state, 0.0) if not text else 0.0
    if depth == 0:
        return total
    for source, label, target, w in arcs:
        if source == state and text.startswith(label):
            total += w * path_weight(arcs, final, target, text[len(label) :], depth - (label == ""))
    return total


ARC = st.tuples(st.integers(0, 2), st.sampled_from(["a", "b", "ab", "bb"]), st.integers(0, 2), st.floats(0.05, 0.3))


@given(st.lists(ARC, min_size=1, max_size=6), st.sets(st.integers(0, 2), min_size=1))
@settings(max_examples=50)
def test_an_automaton_sums_over_paths(arcs, ends):
    final = {state: 0.5 + state for state in ends}
    reachable = any(path_weight(arcs, final, 0, text.decode()) for text in TEXTS)
    try:
        automaton = WeightedAutomaton(arcs, final)
    except BadInput:
        assert not reachable
        return
    for text in TEXTS[:31]:
        assert weight(automaton, text) == pytest.approx(path_weight(arcs, final, 0, text.decode()), rel=1e-12)
    assert_adds_up(automaton, b"ab")


def test_empty_labels_are_summed_before_between_and_after():
    arcs = [(0, "", 1, 0.5), (1, "a", 2, 0.4), (2, "", 0, 0.3), (2, "", 2, 0.2), (0, "b", 0, 0.1), (2, "", 3, 0.7)]
    automaton = WeightedAutomaton(arcs, {3: 1.0, 0: 0.2})
    for text in ("", "a", "b", "ba", "aa", "ab", "bab"):
        assert weight(automaton, text) == pytest.approx(path_weight(arcs, {3: 1.0, 0: 0.2}, 0, text, 60), rel=1e-9)
    assert_adds_up(automaton, b"ab")


def test_an_automaton_with_loops_of_weight_one_guides_by_the_paths_of_the_prefix():
    """Any number of a, then b: there are infinitely many completions, of which each has weight 1."""
    automaton = WeightedAutomaton([(0, "a", 0, 1.0), (0, "b", 1, 1.0), (0, "c", 2, 1.0)], [1])
    assert [prefix_weight(automaton, text) for text in ("", "aaa", "aab", "aabb", "c")] == [1, 1, 1, 0, 0]
    assert weight(automaton, "aab") == 1 and weight(automaton, "aa") == 0


def test_long_texts_stay_within_the_range_of_numbers():
    automaton = WeightedAutomaton([(0, "a", 0, 1e-3), (0, "b", 1, 1.0)], [1])
    assert automaton.score("a" * 1000 + "b") == pytest.approx(1000 * math.log(1e-3))
    grammar = WeightedGrammar("S -> 'a' S [0.001] | 'b' [0.999]")
    assert grammar.score("a" * 200 + "b") == pytest.approx(200 * math.log(1e-3) + math.log(0.999))


def test_the_text_format_of_openfst_is_read():
    automaton = WeightedAutomaton.from_att("0 1 a 0.5\n0 1 b 1.0\n1 2 <space>\n1 3 <epsilon> 0.1\n2 0.25\n3\n")
    assert automaton.score("a ") == pytest.approx(-0.75) and automaton.score("b") == pytest.approx(-1.1)


# Grammars

CATALAN = "S -> S S [0.3] | 'a' [0.7]"
PALINDROME = "S -> 'a' S 'a' [0.3] | 'b' S 'b' [0.3] | [0.2] | 'a' [0.1] | 'b' [0.1]"
AMBIGUOUS = """
# left recursion, rules with one symbol that form a loop, empty right sides, long right sides
S -> A [0.4] | S 'b' A [0.2] | [0.1] | B 'ab' [0.3]
A -> B [0.3] | 'a' [0.5] | A 'a' [0.2]
B -> A [0.2] | S S [0.2] | 'b' [0.6]
"""
FINITE = "S -> 'the ' N V [0.5] | N [0.5]\nN -> 'cat' [0.6] | 'dog' [0.4]\nV -> ' ran' | "
GRAMMARS = [CATALAN, PALINDROME, AMBIGUOUS]


def derivation_weights(text, longest):
    """The weight of every text over a and b of at most a length, by iterating the equations from 0."""
    rules = parse_rules(text)
    names = list(dict.fromkeys(rule.parent for rule in rules))
    values = {name: {} for name in names}
    for _ in range(60):
        after = {name: {} for name in names}
        for rule in rules:
            partial = {b"": rule.weight}
            for symbol in rule.symbols:
                options = {symbol: 1.0} if isinstance(symbol, bytes) else values[symbol]
                grown = {}
                for (head, p), (tail, q) in itertools.product(partial.items(), options.items()):
                    if len(head) + len(tail) <= longest:
                        grown[head + tail] = grown.get(head + tail, 0.0) + p * q
                partial = grown
            for word, p in partial.items():
                after[rule.parent][word] = after[rule.parent].get(word, 0.0) + p
        values = after
    return values[names[0]]


@pytest.mark.parametrize("text", GRAMMARS)
def test_a_grammar_sums_over_derivations(text):
    grammar, exact = WeightedGrammar(text), derivation_weights(text, 5)
    for word in TEXTS:
        assert weight(grammar, word) == pytest.approx(exact.get(word, 0.0), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("text", GRAMMARS)
def test_prefixes_of_a_grammar_add_up(text):
    assert_adds_up(WeightedGrammar(text), b"ab", tolerance=1e-9)


def test_the_weight_of_a_prefix_is_that_of_its_texts():
    grammar = WeightedGrammar(FINITE)
    words = ["cat", "dog", "the cat", "the cat ran", "the dog", "the dog ran"]
    weights = {word: weight(grammar, word) for word in words}
    assert weights == pytest.approx(
        {"cat": 0.3, "dog": 0.2, "the cat": 0.3, "the cat ran": 0.3, "the dog": 0.2, "the dog ran": 0.2}
    )
    for prefix in ("", "t", "the ", "the c", "c", "the cat", "the cat r", "x", "catt"):
        total = sum(w for word, w in weights.items() if word.startswith(prefix))
        assert prefix_weight(grammar, prefix) == pytest.approx(total, abs=1e-15)


def test_a_prefix_is_weighed_by_texts_of_any_length():
    """S -> S S | a: the number of symbols has a known distribution, with Catalan numbers."""
    grammar, p, q = WeightedGrammar(CATALAN), 0.3, 0.7
    sizes = [math.comb(2 * n, n) / (n + 1) * p**n * q ** (n + 1) for n in range(300)]
    for n in range(1, 7):
        assert weight(grammar, "a" * n) == pytest.approx(sizes[n - 1], rel=1e-12)
        assert prefix_weight(grammar, "a" * n) == pytest.approx(sum(sizes[n - 1 :]), rel=1e-9)


def test_a_grammar_that_only_just_ends_has_total_weight_one():
    """At the critical point the equations have a double root."""
    assert prefix_weight(WeightedGrammar("S -> S S [0.5] | 'a' [0.5]"), "") == pytest.approx(1, abs=1e-6)
    # Above it some derivations never end.
    assert prefix_weight(WeightedGrammar("S -> S S [0.6] | 'a' [0.4]"), "") == pytest.approx(2 / 3, rel=1e-12)


def test_a_grammar_without_weights_guides_by_what_can_be_completed():
    grammar = WeightedGrammar("S -> '(' S ')' S | ")
    assert [prefix_weight(grammar, text) for text in ("", "((", "(()", "())", ")")] == [1, 1, 1, 0, 0]
    assert [weight(grammar, text) for text in ("", "()", "(()())", "((")] == pytest.approx([1, 1, 1, 0])


symbols = st.lists(st.sampled_from(["S", "A", "'a'", "'b'", "'ab'"]), max_size=3)
alternatives = st.lists(st.tuples(symbols, st.integers(1, 9)), min_size=1, max_size=3)


@given(alternatives, alternatives)
@settings(max_examples=40)
def test_any_normalized_grammar_adds_up(first, second):
    lines = []
    for name, options in (("S", first), ("A", second)):
        total = sum(w for _, w in options)
        lines.append(f"{name} -> " + " | ".join(f"{' '.join(body)} [{w / total!r}]" for body, w in options))
    try:
        grammar = WeightedGrammar("\n".join(lines))
    except BadInput as error:
        assert "no text" in str(error) or "infinite weight" in str(error)
        return
    if not grammar.has_finite_total:
        return
    assert prefix_weight(grammar, "") <= 1 + 1e-6
    assert_adds_up(grammar, b"ab", depth=3, tolerance=1e-5)


def test_text_is_read_in_any_steps():
    for language in (WeightedGrammar(AMBIGUOUS), WeightedAutomaton([(0, "ab", 0, 0.4), (0, "", 1, 0.3)], [1])):
        whole = language.extend(language.start(), b"abab")
        parts = language.extend(language.extend(language.extend(language.start(), b"a"), b""), b"bab")
        assert language.log_weight(parts) == pytest.approx(language.log_weight(whole), rel=1e-12)
        assert language.log_prefix_weight(parts) == pytest.approx(language.log_prefix_weight(whole), rel=1e-12)


# Potentials

LANGUAGES = {
    "automaton": WeightedAutomaton([(0, "a", 0, 0.3), (0, "b", 1, 0.7), (1, "a", 1, 0.2)], {1: 0.8}),
    "grammar": WeightedGrammar(PALINDROME),
    "letters": WeightedGrammar("S -> 'é' S [0.5] | 'e' [0.5]"),
}
PIECES = [b"a", b"b", b"ab", b"e", b"\xc3", b"\xa9", b"", b"<s>"]


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_language_keeps_the_contract_of_potentials(name):
    potential = LanguageWeight(LANGUAGES[name], PIECES.__getitem__, special_token_ids=[7])
    rows = [[0, 1, 0], [0, 0, 1], [2, 0], [4, 5, 3], [4], [0, 7], [], [1]]
    finished = [True, True, True, True, False, False, True, True]
    context = Context(rows, [0] * len(rows), len(PIECES), [6], finished)
    check_potential(potential, context)
    energies = potential(context)
    assert np.isinf(energies[5])
    texts = [b"".join(PIECES[token] for token in row) for row in rows[:4]]
    assert np.exp(-energies[:4]) == pytest.approx([weight(LANGUAGES[name], text) for text in texts])


def test_a_character_may_be_split_between_tokens():
    potential = LanguageWeight(LANGUAGES["letters"], PIECES.__getitem__)
    energies = potential(Context([[4], [4, 5], [4, 5, 3], [5]], [0] * 4, 8, (), [False, False, True, False]))
    assert np.exp(-energies) == pytest.approx([0.5, 0.5, 0.25, 0.0])


def test_languages_are_built_by_name():
    model = hb.MarkovModel.random(seed=0, size=4)
    context = BuildContext(model, 8)
    value = {"arcs": [[0, "ab", 1, 0.7], ["0", "c", "1"]], "final": {"1": 0.5}}
    potential = build(POTENTIALS, ("automaton", value), context)
    assert potential(Context([[0, 1], [2]], [0, 0], 4, (), [True, True])) == pytest.approx(-np.log([0.35, 0.5]))
    assert build(POTENTIALS, ("automaton", "0 1 a 0.5\n1"), context)(Context([[0]], [0], 4, (), [True])) == 0.5
    assert build(POTENTIALS, ("cfg", "S -> 'a'"), context)(Context([[0]], [0], 4, (), [True])) == 0
    limit = POTENTIALS["automaton"].request_limit
    assert limit(value) is None
    assert "600 arcs" in limit({"arcs": [[0, "a", 1]] * 600}) and "labels of 4000" in limit(
        {"arcs": [[0, "a" * 4000, 1]]}
    )
    assert "cfg" not in POTENTIALS.offered_specs


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: WeightedAutomaton([(0, "a", 1, -1.0)], [1]), "finite number of 0 or more"),
        (lambda: WeightedAutomaton([(0, "a", 1, 1.0)], [2]), "has no text"),
        (lambda: WeightedAutomaton([(0, "", 0, 1.0), (0, "a", 1, 1.0)], [1]), "loop of infinite weight"),
        (lambda: WeightedAutomaton([(0, "a")], [1]), r"an arc is \[source, label, target, weight\]"),
        (lambda: WeightedAutomaton([(0, 3, 1)], [1]), "label of an arc must be a text, got 3"),
        (lambda: WeightedAutomaton.from_att("0 1 a b 0.5 x"), "line 1 of the automaton has 6 columns"),
        (lambda: WeightedAutomaton.from_att("0 1 a cheap"), "line 1 of the automaton has the cost 'cheap'"),
        (lambda: WeightedGrammar(""), "has no rules"),
        (lambda: WeightedGrammar("S > 'a'"), "line 1 of the grammar is"),
        (lambda: WeightedGrammar("S -> 'a' [0.5] 'b'"), "line 1 of the grammar cannot be read at \"'b'\""),
        (lambda: WeightedGrammar("S -> 'a' [x]"), "has the weight 'x'"),
        (lambda: WeightedGrammar("S -> 'a' [-1]"), "finite number of 0 or more, got -1"),
        (lambda: WeightedGrammar("S -> T"), "uses 'T', which has no rule"),
        (lambda: WeightedGrammar("S -> 'a' S"), "has no text"),
        (lambda: WeightedGrammar("S -> S | 'a'"), "infinite weight"),
    ],
)
def test_what_is_not_a_language_is_refused(make, words):
    with pytest.raises(BadInput, match=words):
        make()
