"""RestrictedModel: forbidden tokens have no probability, with NumPy and PyTorch; the model's arrays stay unchanged."""

import numpy as np
import pytest
import torch

from heatbath.errors import BadInput
from heatbath.models import MarkovModel, RestrictedModel
from heatbath.models.restricted_model import _forbid_tokens


def test_forbidden_tokens_are_at_infinite_energy_and_the_rest_unchanged():
    inner = MarkovModel.random(0, 4)
    session, free = RestrictedModel(inner, [1, 3]).open([[0], []]), inner.open([[0], []])
    assert np.isinf(session.energies()[:, [1, 3]]).all()
    assert (session.energies()[:, [0, 2]] == free.energies()[:, [0, 2]]).all()
    assert np.isfinite(inner.next_energies(inner.initial_state(1))).all()


def test_scores_forbid_tokens_too():
    (window,) = RestrictedModel(MarkovModel.random(0, 4), [2]).score([[0, 1, 2]])
    assert np.isinf(window.energies[:, 2]).all() and np.isfinite(window.energies[:, :2]).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_tensors_keep_their_type_and_are_copied(dtype):
    energies = torch.arange(6, dtype=dtype).reshape(2, 3)
    kept = _forbid_tokens(energies, [0, 2])
    assert kept.dtype == dtype and kept[:, 1].tolist() == [1, 4] and torch.isinf(kept[:, [0, 2]]).all()
    assert torch.isfinite(energies).all()


def test_the_fingerprint_depends_on_the_forbidden_tokens():
    inner = MarkovModel.random(0, 4)
    prints = {RestrictedModel(inner, tokens).fingerprint for tokens in ([], [1], [2], [1, 2], [2, 1, 1])}
    assert len(prints) == 4 and inner.fingerprint not in prints


@pytest.mark.parametrize("tokens", [[4], [-1], [0, 1, 2, 3]])
def test_bad_choices_are_refused(tokens):
    with pytest.raises(BadInput):
        RestrictedModel(MarkovModel.random(0, 4), tokens)
