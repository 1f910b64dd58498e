"""Forbid and LogitBias, and the contract suite over every field."""

import numpy as np
import pytest

from heatbath.energy import Context, ForbiddenTokens, LogitBias
from heatbath.errors import BadInput
from heatbath.testing import check_field

CONTEXT = Context([[0], [1, 2]], [1, 1], 4)


FIELDS = [
    ForbiddenTokens([1, 3]),
    ForbiddenTokens([]),
    LogitBias({0: 2.0, 5: -1.0}),
    LogitBias({2: -np.inf}),
    ForbiddenTokens([1]) + LogitBias({1: 1.0}),
]


@pytest.mark.parametrize("field", FIELDS)
def test_contract(field):
    check_field(field)


def test_a_bias_lowers_the_energy_and_minus_infinity_forbids():
    assert LogitBias({1: 2.0, 3: -np.inf})(CONTEXT).tolist() == [0, -2, 0, np.inf]
    assert ForbiddenTokens([2, 2, 0])(CONTEXT).tolist() == [np.inf, 0, np.inf, 0]


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_other_infinite_biases_are_refused(value):
    with pytest.raises(BadInput, match="bias of token 1"):
        LogitBias({1: value})


@pytest.mark.parametrize("field", [ForbiddenTokens([4]), LogitBias({-1: 1.0}, name="mine")])
def test_tokens_outside_the_vocabulary_name_the_field(field):
    with pytest.raises(BadInput, match=f"field {field.name!r}: token .* is outside the vocabulary"):
        field(CONTEXT)
