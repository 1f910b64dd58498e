"""What is required is always met, and nothing is forbidden that could still meet it."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heatbath.energy import Context
from heatbath.energy.required_content import RequiredPhrases
from heatbath.errors import BadInput
from heatbath.testing import check_field

PIECES = [b"a", b"b", b"ab", b"bca", b"c", b"<end>"]
STOP = (5,)
phrase = st.text("abc", min_size=1, max_size=5)


def require(wanted, max_tokens=None, pieces=PIECES):
    return RequiredPhrases(wanted, pieces.__getitem__, len(pieces), max_tokens=max_tokens)


def allowed(field, answer):
    row = field(Context([answer], [0], len(PIECES), STOP))[0]
    return {token for token, energy in enumerate(row) if not energy}


def holds(answer, wanted):
    text = b"".join(PIECES[token] for token in answer)
    return all(item in answer if isinstance(item, int) else item.encode() in text for item in wanted)


def test_stopping_waits_until_all_is_there():
    field = require(["ab", 4])
    assert allowed(field, [0]) == {0, 1, 2, 3, 4}
    assert allowed(field, [0, 1]) == {0, 1, 2, 3, 4}
    assert allowed(field, [0, 1, 0, 4]) == {0, 1, 2, 3, 4, 5}
    assert allowed(field, [4, 2]) == {0, 1, 2, 3, 4, 5}


@settings(max_examples=60)
@given(text=phrase, answer=st.lists(st.integers(0, 4), max_size=5), left=st.integers(1, 4))
def test_with_one_phrase_exactly_what_can_still_meet_it_is_allowed(text, answer, left):
    @cache
    def needed(answer):
        """The fewest tokens that meet it, by trying all, up to one more than there are."""
        front, depth = {answer}, 0
        while not any(holds(tokens, [text]) for tokens in front):
            if depth == left:
                return np.inf
            front = {(*tokens, token) for tokens in front for token in range(5)}
            depth += 1
        return depth

    most = len(answer) + left
    try:
        field = require([text], most)
    except BadInput as error:
        assert ("needs" in str(error) and needed(()) > left + len(answer)) or most > 4
        return
    found = allowed(field, answer)
    if holds(answer, [text]):
        assert found == {0, 1, 2, 3, 4, 5}
    else:
        assert found == {token for token in range(5) if needed((*answer, token)) <= left - 1}


@settings(max_examples=100)
@given(
    wanted=st.lists(phrase | st.integers(0, 4), min_size=1, max_size=3),
    spare=st.integers(0, 2),
    choices=st.lists(st.integers(0, 5), min_size=20, max_size=20),
)
def test_an_answer_of_full_length_lacks_nothing(wanted, spare, choices):
    least = int(1 + require(wanted)._count_remaining_tokens((0,) * len(wanted)).min())
    field, answer = require(wanted, least + spare), []
    for choice in choices[: least + spare]:
        ways = sorted(allowed(field, answer))
        assert ways, f"nothing is allowed after {answer}"
        token = ways[choice % len(ways)]
        if token in STOP:
            break
        answer.append(token)
    assert holds(answer, wanted)


def test_what_does_not_fit_or_cannot_be_spelled_is_said_at_once():
    with pytest.raises(BadInput, match="needs at least 3 tokens, `max_tokens` is 2"):
        require(["aaa"], 2)
    with pytest.raises(BadInput, match="no tokens of this vocabulary spell b'xyz'"):
        require(["xyz"])
    with pytest.raises(BadInput, match="token 6 is outside the vocabulary of 6"):
        require([6])
    with pytest.raises(BadInput, match="needs at least one phrase or token, got none"):
        require([])
    with pytest.raises(BadInput, match="takes a list"):
        require("ab")
    with pytest.raises(BadInput, match="`max_tokens` of field 'require' must be .*, got 0"):
        require(["a"], 0)


def test_overlapping_phrases_that_one_token_holds_fit_into_one_token():
    pieces = [*PIECES[:5], b"abc"]
    field = require(["ab", "bc"], 1, pieces)
    assert np.flatnonzero(field(Context([[]], [0], 6))[0] == 0).tolist() == [5]


@pytest.mark.parametrize("field", [require(["ab"]), require(["abc", 3], 4), require([b"a"], 3)])
def test_contract(field):
    check_field(field, Context([[0, 1, 2, 1], [3], [], [0, 0, 4]], [2, 1, 0, 0], 6, stop_token_ids=STOP))
