"""Guidance is what its equation says, whatever each model's zero of energy."""

import numpy as np
import pytest
from scipy.special import log_softmax

from heatbath.energy import Context
from heatbath.errors import BadInput
from heatbath.experts.contrast import Contrast
from heatbath.models import RestrictedModel, TableModel
from heatbath.testing import check_field

MODEL = TableModel.random(0, 4, 8, stop_token_ids=(3,), scale=2.0)
ROWS, LENGTHS = [[0, 1, 1], [2, 0], [1, 2, 0, 2, 1]], [2, 1, 3]
WITHOUT = [[1], [0], [2, 1]]


def context(rows=ROWS, shift=0.0, model=MODEL):
    return Context(rows, LENGTHS, 4, (3,), energies=model.open(rows).energies() + shift)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 3.0])
def test_the_guided_law_is_the_published_one(gamma):
    given, plain = (log_softmax(-MODEL.open(rows).energies(), -1) for rows in (ROWS, WITHOUT))
    wanted = log_softmax(plain + gamma * (given - plain), -1)
    for shift in (0.0, 7.0):
        here = context(shift=shift)
        found = log_softmax(-(here.energies + Contrast(MODEL, gamma=gamma)(here)), -1)
        assert np.allclose(found, wanted, atol=1e-12)


def test_the_gauge_of_neither_model_matters():
    assert np.allclose(Contrast(MODEL, gamma=2.0)(context(shift=9.0)), Contrast(MODEL, gamma=2.0)(context()))
    lifted = TableModel(lambda prefix: MODEL.open([list(prefix)]).energies()[0] + len(prefix), 8, stop_token_ids=(3,))
    assert np.allclose(Contrast(lifted, gamma=2.0)(context()), Contrast(MODEL, gamma=2.0)(context()))


def test_a_negative_prompt_is_fixed_or_made_from_the_row():
    here = context()
    fixed, made = Contrast(MODEL, [2], gamma=2.0)(here), Contrast(MODEL, lambda prompt: [2], gamma=2.0)(here)
    assert np.array_equal(fixed, made) and not np.allclose(fixed, Contrast(MODEL, gamma=2.0)(here))


def test_contract():
    field = Contrast(MODEL, gamma=2.0)
    assert not field.commutes
    check_field(field, context())


def test_a_row_that_ended_is_left_alone():
    here = Context(ROWS, LENGTHS, 4, (3,), finished_mask=[False, True, False], energies=context().energies)
    field = Contrast(MODEL, gamma=2.0)
    assert field(here)[1].tolist() == [0, 0, 0, 0]
    assert np.array_equal(field(here)[[0, 2]], field(context())[[0, 2]])
    assert not field(Context(ROWS, LENGTHS, 4, finished_mask=[True] * 3, energies=here.energies)).any()


def test_torch_energies_come_back_in_their_type():
    torch = pytest.importorskip("torch")
    here = context()
    found = Contrast(MODEL, gamma=2.0)(Context(ROWS, LENGTHS, 4, energies=torch.tensor(here.energies).float()))
    assert found.dtype == torch.float32
    assert np.allclose(found.numpy(), Contrast(MODEL, gamma=2.0)(here), atol=1e-5)


def test_what_is_forbidden_on_one_side():
    ban = RestrictedModel(MODEL, [1])
    both = Contrast(ban, gamma=2.0)(context(model=ban))
    assert (both[:, 1] == 0).all() and np.isfinite(both).all()
    assert (Contrast(ban, gamma=0.5)(context())[:, 1] == np.inf).all()
    with pytest.raises(BadInput, match=r"'contrast': token 1 of row 0 is possible after its prompt"):
        Contrast(ban, gamma=2.0)(context())


def test_bad_input():
    for gamma in (-1.0, np.nan, np.inf):
        with pytest.raises(BadInput, match="`gamma` must be finite and at least 0, got"):
            Contrast(MODEL, gamma=gamma)
    with pytest.raises(BadInput, match="needs the energies of the model"):
        Contrast(MODEL, gamma=2.0)(Context(ROWS, LENGTHS, 4))
    with pytest.raises(BadInput, match="vocabularies differ"):
        Contrast(TableModel.random(0, 5, 3), gamma=2.0)(context())
