"""Regular expressions, length and functions as potentials, in the contract and out of it."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heatbath.energy import Context
from heatbath.energy.potentials import FunctionPotential, Length, Regex, character_counter, word_counter
from heatbath.errors import BadInput, NotANumber
from heatbath.testing import check_potential

BYTES = [b"a", b"b", b" ", b"ab", b"1", b"\xe2\x98", b"\x83", b"."]


def decode(tokens):
    return b"".join(BYTES[token] for token in tokens).decode("utf-8", errors="replace")


def context(rows, ended, stop=()):
    return Context(rows, [0] * len(rows), 8, stop, finished_mask=ended)


def letters(text):
    return ["ab".index(letter) for letter in text]


WHOLE = Context([[0, 0, 1], [0, 2], [2, 3, 7], [0]], [0, 0, 1, 1], 8, (7,), finished_mask=[True, True, True, False])
POTENTIALS = [
    Regex("a*b", decode),
    Regex("a*b", decode, weight=2.5),
    Length(2, 0.5),
    Length(2, 1, hard=True),
    Length(1, 1, count=word_counter(decode)),
    Length(4, 1.5, count=character_counter(decode)),
    FunctionPotential(lambda tokens: 0.5 * len(tokens), "tokens"),
    FunctionPotential(lambda text: float(text.count("a")), "letters", decode=decode, scores_prefixes=True),
    2.0 * Regex("a*b", decode, weight=1.0) + Length(2, 1.0),
]


@pytest.mark.parametrize("potential", POTENTIALS, ids=lambda potential: potential.name)
def test_contract(potential):
    check_potential(potential, WHOLE)
    check_potential(potential)


def test_answers_match_from_end_to_end_and_prefixes_may_still():
    rows = [[0, 0], [0, 0, 1], [1, 0], [3, 1], [], [0]]
    assert Regex("a*b", decode)(context(rows, [True] * 6)).tolist() == [np.inf, 0, np.inf, np.inf, np.inf, np.inf]
    assert Regex("a*b", decode)(context(rows, [False] * 6)).tolist() == [0, 0, np.inf, np.inf, 0, 0]
    assert Regex("a*b", decode, weight=1.5)(context(rows, [True] * 6)).tolist() == [1.5, 0, 1.5, 1.5, 1.5, 1.5]


def test_a_character_that_is_not_complete_is_still_open():
    snowman = Regex("☃b", decode)
    assert snowman(context([[5], [5, 6], [5, 6, 1], [6]], [False] * 4)).tolist() == [0, 0, 0, 0]
    assert snowman(context([[5], [5, 6, 1]], [True] * 2)).tolist() == [np.inf, 0]
    assert snowman(context([[5, 0], [0]], [False] * 2)).tolist() == [np.inf, np.inf]


def patterns():
    piece = st.sampled_from(["a", "b", "[ab]", ".", "(?:ab)", "(?:a|bb)", "(?=b)", "(?!a)", "(?<=a)", r"\b", "$", "^"])
    repeated = st.builds(lambda part, times: part + times, piece, st.sampled_from(["", "", "*", "+?", "?", "{2}"]))
    parts = st.lists(repeated.filter(lambda p: p[0] not in "$^\\" or p in ("$", "^", r"\b")), min_size=1, max_size=4)
    return parts.map("".join)


@given(patterns())
@example("[ab]+?(?<=a)")
def test_no_prefix_of_a_match_is_stopped(pattern):
    """Every text of up to five letters, by the standard library's own matcher."""
    try:
        compiled = re.compile(pattern)
        potential = Regex(pattern, decode)
    except (re.error, BadInput):
        return
    texts = ["".join(text) for n in range(6) for text in itertools.product("ab", repeat=n)]
    matching = [text for text in texts if compiled.fullmatch(text)]
    prefixes = [text[:n] for text in matching for n in range(len(text) + 1)]
    if prefixes and potential.scores_prefixes:
        energies = potential(context([letters(text) for text in prefixes], [False] * len(prefixes)))
        assert not energies.any(), (pattern, prefixes[int(np.argmax(energies))])
    whole = potential(context([letters(text) for text in texts], [True] * len(texts)))
    assert [text for text, energy in zip(texts, whole, strict=True) if energy == 0] == matching


@pytest.mark.parametrize(
    ("pattern", "scores"),
    [(r"\ba", False), (r"a\\b", True), (r"a\\\b.", False), (r"(?r)a", False), (r"(?<=a)b", False), (r"\d\Z", True)],
)
def test_patterns_whose_prefixes_cannot_be_told_are_asked_whole(pattern, scores):
    assert Regex(pattern, decode).scores_prefixes == scores


def test_why_word_boundaries_are_asked_whole():
    """The partial matcher gives up at the empty prefix of a match: were that mended, the exception could go."""
    import regex

    assert regex.fullmatch(r"\b.", "a") and regex.fullmatch(r"\b.", "", partial=True) is None


def test_prefixes_without_a_way_on_are_stopped_early():
    energies = Regex("(?:ab){2}", decode)(
        context([letters(t) for t in ("aba", "abb", "b", "abab", "ababa")], [False] * 5)
    )
    assert energies.tolist() == [0, np.inf, np.inf, 0, np.inf]


def test_bad_patterns():
    with pytest.raises(BadInput, match=r"'\(a' is not a valid regular expression"):
        Regex("(a", decode)
    for weight in (-1.0, np.nan):
        with pytest.raises(BadInput, match="`weight` of potential 'regex' must be at least 0"):
            Regex("a", decode, weight=weight)


def test_length_counts_tokens_words_or_characters_without_the_stop_token():
    rows = [[3, 2, 3, 7], [0]]
    here = context(rows, [True, True], stop=(7,))
    assert Length(1, 1.0)(here).tolist() == [2, 0]
    assert Length(1, 1.0, count=word_counter(decode))(here).tolist() == [0.5, 0]
    assert Length(1, 2.0, count=character_counter(decode))(here).tolist() == [2, 0]
    assert Length(2, 1, hard=True)(here).tolist() == [0, 0]
    assert Length(2, 0, hard=True)(here).tolist() == [np.inf, np.inf]


def test_a_prefix_costs_what_it_cannot_lose():
    rows = [[0] * n for n in range(5)]
    prefixes, whole = (Length(2, 1.0)(context(rows, [ended] * 5)) for ended in (False, True))
    assert prefixes.tolist() == [0, 0, 0, 0.5, 2] and whole.tolist() == [2, 0.5, 0, 0.5, 2]
    best_end = [min(whole[n:]) for n in range(5)]
    assert prefixes.tolist() == best_end


def test_bytes_that_make_no_character_yet_cannot_stop_a_prefix():
    rows = [[2, 5], [2, 5, 6]]
    assert Length(0, 0, count=word_counter(decode), hard=True)(context(rows, [False, True])).tolist() == [0, np.inf]
    assert Length(2, 0, count=character_counter(decode), hard=True)(context(rows, [False, True])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": 3, "width": 0}, "`width` of potential 'length' must be .*, got 0"),
        ({"target": 3, "width": -1, "hard": True}, "`width` of potential 'length' must be .*, got -1"),
        ({"target": -1, "width": 1}, "`target` of potential 'length' must be .*, got -1"),
        ({"target": np.nan, "width": 1}, "`target` of potential 'length' must be .*, got nan"),
    ],
)
def test_bad_lengths(options, said):
    with pytest.raises(BadInput, match=said):
        Length(**options)


def test_a_function_sees_the_answer_alone():
    seen = []

    def note(answer):
        seen.append(answer)
        return 0.0

    here = Context([[1, 1, 0, 7], [0]], [2, 0], 8, (7,), finished_mask=[True, True])
    FunctionPotential(note, "note")(here)
    FunctionPotential(note, "note", decode=decode)(here)
    assert seen == [[0], [0], "a", "a"]


def test_a_function_that_fails_is_named_with_its_row():
    here = Context([[0], [1]], [0, 0], 8, finished_mask=[True, True], row_ids=[4, 9])
    with pytest.raises(BadInput, match="'odd' raised ZeroDivisionError on row 9: .*division by zero") as caught:
        FunctionPotential(lambda tokens: 1 / (1 - tokens[0]), "odd")(here)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(NotANumber, match="potential 'odd' returned NaN for row 9"):
        FunctionPotential(lambda tokens: np.nan if tokens[0] else 0.0, "odd")(here)
    with pytest.raises(BadInput, match="'odd' returned -inf for row 9"):
        FunctionPotential(lambda tokens: -np.inf if tokens[0] else 0.0, "odd")(here)
    for wrong in ("good", [0.0, 1.0], None):
        with pytest.raises(BadInput, match="'odd' raised (Value|Type)Error on row 4"):
            FunctionPotential(lambda tokens, wrong=wrong: wrong, "odd")(here)
