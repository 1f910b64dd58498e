"""Fields on the length of an answer."""

import numpy as np
import pytest

from heatbath.energy import Context
from heatbath.energy.length_fields import LengthBias, MaxLength, MinLength
from heatbath.errors import BadInput
from heatbath.testing import check_field

CONTEXT = Context(
    [[0, 1, 2, 1], [3], [], [2]], [1, 1, 0, 0], 4, stop_token_ids=(3,), finished_mask=[False, False, False, True]
)


def test_stopping_is_forbidden_until_the_answer_is_long_enough():
    found = MinLength(3)(CONTEXT)
    assert found[:, 3].tolist() == [0, np.inf, np.inf, 0] and not found[:, :3].any()
    assert not MinLength(0)(CONTEXT).any()


def test_the_border_is_a_stop():
    found = MaxLength(4)(CONTEXT)
    assert found[0].tolist() == [np.inf, np.inf, np.inf, 0] and not found[1:].any()
    assert MaxLength(1)(CONTEXT)[1].tolist() == [np.inf, np.inf, np.inf, 0]
    assert not MaxLength(1)(CONTEXT)[3].any()
    with pytest.raises(BadInput, match="'max_length' needs a stop token to end completions, and the context has none"):
        MaxLength(2)(Context([[0]], [0], 4))


def test_the_length_adds_up_over_an_answer():
    field, answer = LengthBias(0.3), [0, 1, 2, 0, 3]
    total = sum(field(Context([answer[:t]], [0], 4, stop_token_ids=(3,)))[0, token] for t, token in enumerate(answer))
    assert total == pytest.approx(4 * 0.3)
    assert not field(CONTEXT)[3].any()


@pytest.mark.parametrize("field", [MinLength(2), MaxLength(3), LengthBias(-0.5)])
def test_contract(field):
    check_field(field, CONTEXT)


def test_bad_lengths():
    for make in (lambda: MinLength(-1), lambda: MaxLength(0), lambda: MinLength(1.5), lambda: LengthBias(np.nan)):
        with pytest.raises(BadInput, match="length"):
            make()
