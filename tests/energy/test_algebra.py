"""The algebra of energies: sums, weights, names, and 0 times infinity."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from heatbath.energy import Context, Field, ForbiddenTokens, LogitBias, Potential
from heatbath.energy.algebra import scale_energies
from heatbath.errors import BadInput

CONTEXT = Context([[0], [1, 2]], [1, 1], 4)
weights = st.floats(-10, 10, allow_nan=False)


@dataclass(frozen=True)
class Length(Potential):
    name: str = "length"

    def __call__(self, context):
        return np.array([float(len(tokens)) for tokens in context.tokens])


@dataclass(frozen=True)
class PerRow(Field):
    name: str = "per row"

    def __call__(self, context):
        return np.outer([len(tokens) for tokens in context.tokens], np.arange(context.vocab_size)).astype(float)


@given(a=weights, b=weights, c=weights)
def test_fields_form_a_vector_space(a, b, c):
    f, g, h = LogitBias({0: 1.5, 2: -0.5}), PerRow(), LogitBias({1: 3.0}, name="other")
    left, right = a * (f + b * g) + c * h, c * h + (a * b) * g + a * f
    assert np.allclose(left(CONTEXT), right(CONTEXT), atol=1e-9)
    expected = a * f(CONTEXT) + a * b * g(CONTEXT) + c * h(CONTEXT)
    assert np.allclose(left(CONTEXT), expected, atol=1e-9)


def test_sums_are_flat_and_keep_names_and_weights():
    total = 2 * (ForbiddenTokens([1]) + 3.0 * PerRow()) + LogitBias({0: 1.0})
    assert [(weight, part.name) for weight, part in total.terms] == [(2, "forbid"), (6, "per row"), (1, "logit_bias")]
    assert total.name == "forbid+per row+logit_bias"
    assert (0.5 * PerRow()).name == "per row"


def test_weight_zero_lifts_what_was_forbidden():
    assert (0 * ForbiddenTokens([1]))(CONTEXT).tolist() == [0, 0, 0, 0]
    assert (0 * ForbiddenTokens([1]) + ForbiddenTokens([2]))(CONTEXT).tolist() == [0, 0, np.inf, 0]
    assert (2 * ForbiddenTokens([1]))(CONTEXT).tolist() == [0, np.inf, 0, 0]


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_scaling_is_the_same_in_either_library(weight):
    energies = [1.0, np.inf, -2.0]
    assert (
        scale_energies(weight, torch.tensor(energies)).tolist() == scale_energies(weight, np.array(energies)).tolist()
    )


def test_a_negative_weight_on_what_forbids_is_refused():
    with pytest.raises(BadInput, match="-inf"):
        (-1 * ForbiddenTokens([0]))(CONTEXT)
    assert (-1 * LogitBias({0: 2.0}))(CONTEXT).tolist() == [2, 0, 0, 0]


@pytest.mark.parametrize("weight", [np.inf, -np.inf, np.nan])
def test_weights_are_finite(weight):
    with pytest.raises(BadInput, match="finite"):
        weight * PerRow()


def test_potentials_add_by_row():
    total = Length() + 0.5 * Length("again")
    assert total(CONTEXT).tolist() == [1.5, 3.0]
    assert total.name == "length+again" and [part.name for _, part in total.terms] == ["length", "again"]


def test_fields_and_potentials_do_not_mix():
    with pytest.raises(BadInput, match="a field can only be added to a field, got Length"):
        PerRow() + Length()
    with pytest.raises(BadInput, match="a potential can only be added to a potential, got PerRow"):
        Length() + PerRow()
