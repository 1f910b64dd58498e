"""States by prefix: right whatever is asked for in which order, with few steps and few states."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.energy.prefix_memo import PrefixMemo
from heatbath.errors import BadInput

prefixes = st.lists(st.lists(st.integers(0, 2), max_size=6), max_size=30)


@given(asked=prefixes, size=st.integers(1, 5))
def test_a_state_is_what_its_tokens_say_and_few_are_kept(asked, size):
    memo = PrefixMemo((), lambda state, tokens: state + tuple(tokens), size=size)
    for tokens in asked:
        assert memo(tokens) == tuple(tokens)
        assert len(memo) <= size


def test_a_row_that_grows_costs_one_step_a_token_and_a_fork_none():
    steps = []
    memo = PrefixMemo(0, lambda state, tokens: steps.append(len(tokens)) or state + sum(tokens))
    answer = list(range(1, 20))
    for length in range(len(answer) + 1):
        memo(answer[:length])
    assert steps == [1] * len(answer)
    assert memo(answer[:7]) == 28 and len(steps) == len(answer)
    memo([*answer[:7], 5, 5])
    assert steps[-1] == 2


def test_what_was_used_last_stays():
    memo = PrefixMemo(0, lambda state, tokens: state + len(tokens), size=2)
    memo([1]), memo([2]), memo([1]), memo([3])
    assert set(memo._states) == {(1,), (3,)}


def test_a_memo_keeps_at_least_one_state():
    with pytest.raises(BadInput, match="`size` of a memo must be at least 1, got 0"):
        PrefixMemo(0, lambda state, tokens: state, size=0)
