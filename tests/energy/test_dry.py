"""DRY against a search through every stretch."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heatbath.energy import Context
from heatbath.energy.dry import DryPenalty, find_breaker_tokens, find_repeat_lengths
from heatbath.errors import BadInput
from heatbath.testing import check_field

rows = st.lists(st.integers(0, 3), max_size=14)


def searched(tokens, breakers):
    """For every token the longest end of `tokens` without a breaker that stands somewhere before it."""
    found = {}
    for length in range(1, len(tokens)):
        end = tokens[len(tokens) - length :]
        for start in range(len(tokens) - length):
            follower = tokens[start + length]
            if tokens[start : start + length] == end and not {*end, follower} & breakers:
                found[follower] = max(found.get(follower, 0), length)
    return found


@given(tokens=rows, breakers=st.frozensets(st.integers(0, 3), max_size=2))
@example(tokens=[0] * 9, breakers=frozenset())
@example(tokens=[0, 1, 0, 1, 0], breakers=frozenset())
def test_repeats_are_found(tokens, breakers):
    assert find_repeat_lengths(tokens, breakers) == searched(tokens, breakers)


@given(tokens=rows, last_n=st.none() | st.integers(1, 9), allowed=st.integers(1, 3))
def test_the_penalty_grows_with_the_length(tokens, last_n, allowed):
    field = DryPenalty(0.8, base=1.75, allowed_length=allowed, last_n=last_n)
    expected = np.zeros(4)
    for token, length in searched(tokens if last_n is None else tokens[-last_n:], frozenset()).items():
        if length >= allowed:
            expected[token] = 0.8 * 1.75 ** (length - allowed)
    assert np.allclose(field(Context([tokens], [len(tokens) // 2], 4))[0], expected, rtol=1e-6)


def test_the_prompt_counts_and_breakers_end_a_stretch():
    tokens = [1, 2, 3, 5, 1, 2]
    assert DryPenalty(1.0)(Context([tokens], [4], 6)).tolist() == [[0, 0, 0, 1, 0, 0]]
    assert not DryPenalty(1.0, breakers={2})(Context([tokens], [4], 6)).any()
    assert not DryPenalty(1.0, breakers={3})(Context([tokens], [4], 6)).any()
    assert DryPenalty(1.0, breakers={5})(Context([tokens], [4], 6)).any()
    assert find_breaker_tokens([b"\n", ":"], [b"a", b".\n", b"::", b"b"]) == {1, 2}


def test_long_repetitions_stay_finite():
    found = DryPenalty(3.0, base=4.0)(Context([[1] * 3000], [0], 3))
    assert np.isfinite(found).all() and found[0, 1] == pytest.approx(3e30)
    assert DryPenalty(2.0, base=1.0)(Context([[1] * 3000], [0], 3))[0, 1] == 2.0


@pytest.mark.parametrize(
    "field", [DryPenalty(0.8), DryPenalty(1.0, allowed_length=1, breakers={2}, last_n=3), DryPenalty(0.0)]
)
def test_contract(field):
    check_field(field, Context([[0, 1, 2, 1], [3, 3, 3], [], [1, 2, 1, 2, 1]], [2, 1, 0, 1], 8))


@pytest.mark.parametrize(
    "options", [{"multiplier": -1.0}, {"base": 0.5}, {"base": np.inf}, {"allowed_length": 0}, {"last_n": 0}]
)
def test_bad_settings(options):
    with pytest.raises(BadInput, match="of field 'dry' must be .*at least"):
        DryPenalty(**{"multiplier": 1.0, **options})
