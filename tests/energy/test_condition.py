"""Energies that act where a condition holds."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from heatbath.energy import Context, Field, ForbiddenTokens, LogitBias, Potential
from heatbath.energy.condition import after_tokens, apply_when, rows_in, until_tokens
from heatbath.errors import BadInput
from heatbath.testing import check_field

CONTEXT = Context([[0, 1, 2, 1], [3], []], [2, 1, 0], 4, row_ids=[7, 8, 9], energies=np.arange(12.0).reshape(3, 4))


@dataclass(frozen=True)
class Asked(Field):
    """Counts and keeps the contexts it was asked about."""

    contexts: list = field(default_factory=list)
    name: str = "asked"
    commutes: bool = False

    def __call__(self, context):
        self.contexts.append(context)
        return torch.full((len(context), context.vocab_size), 2.0)


@dataclass(frozen=True)
class Rows(Potential):
    name: str = "rows"
    scores_prefixes: bool = True

    def __call__(self, context):
        return np.array([float(context.row_id(row)) for row in range(len(context))])


def test_only_the_rows_where_it_holds_are_asked_and_changed():
    inner = Asked()
    found = apply_when(rows_in({9, 7}), inner)(CONTEXT)
    assert found.dtype == np.float32 and found.tolist() == [[2] * 4, [0] * 4, [2] * 4]
    (seen,) = inner.contexts
    assert list(seen.row_ids) == [7, 9] and seen.energies.tolist() == CONTEXT.energies[[0, 2]].tolist()
    assert not apply_when(rows_in(()), inner)(CONTEXT).any() and len(inner.contexts) == 1


def test_lengths_are_those_of_the_answer():
    assert after_tokens(1)(CONTEXT) == [True, False, False]
    assert until_tokens(2)(CONTEXT) == [False, True, True]


def test_names_weights_and_properties_stay():
    total = apply_when(after_tokens(0), 2.0 * ForbiddenTokens([1]) + LogitBias({0: 1.0}))
    assert [(weight, part.name) for weight, part in total.terms] == [(2.0, "forbid"), (1.0, "logit_bias")]
    assert total(CONTEXT).tolist() == [[-1, np.inf, 0, 0]] * 3
    assert apply_when(after_tokens(0), ForbiddenTokens([1])).name == "forbid"
    assert (
        apply_when(after_tokens(0), ForbiddenTokens([1])).commutes and not apply_when(after_tokens(0), Asked()).commutes
    )


def test_potentials_too():
    found = apply_when(until_tokens(1), 0.5 * Rows())
    assert found(CONTEXT).tolist() == [0, 4, 4.5] and found.name == "rows"
    assert apply_when(until_tokens(1), Rows()).scores_prefixes
    assert isinstance(found + Rows(), Potential)


@pytest.mark.parametrize("energy", [ForbiddenTokens([1]), LogitBias({2: 1.0}), Asked()])
def test_contract(energy):
    check_field(apply_when(after_tokens(1), energy), CONTEXT)
    check_field(apply_when(rows_in({8}), energy + LogitBias({0: 2.0})), CONTEXT)


@dataclass(frozen=True)
class Narrow(Field):
    name: str = "narrow"

    def __call__(self, context):
        return np.zeros(3)


def test_bad_conditions():
    with pytest.raises(BadInput, match="condition of 'forbid' must return 3 truth values, one per row, got bool"):
        apply_when(lambda context: [True], ForbiddenTokens([1]))(CONTEXT)
    with pytest.raises(BadInput, match="one per row, got int"):
        apply_when(lambda context: [1, 0, 1], ForbiddenTokens([1]))(CONTEXT)
    with pytest.raises(BadInput, match="takes a field or a potential, got str"):
        apply_when(after_tokens(1), "forbid")
    with pytest.raises(BadInput, match="`n` of after_tokens must be a whole number of at least 0, got -1"):
        after_tokens(-1)
    with pytest.raises(BadInput, match=r"'narrow' must return energies that broadcast to \(3, 4\), got \(3,\)"):
        apply_when(after_tokens(0), Narrow())(replace(CONTEXT))
