"""Sessions and scores that all exact models share, and the contract suite over all of them."""

import time

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.models import MarkovModel, RandomEnergyModel, RestrictedModel, TableModel, UrnModel
from heatbath.models.exact.base import log_probabilities
from heatbath.testing import check_model

MODELS = {
    "table": TableModel.random(0, 3, 6),
    "table with stop": TableModel.random(1, 4, 5, stop_token_ids=(3,)),
    "markov": MarkovModel.random(2, 4),
    "urn": UrnModel(1.5),
    "rem": RandomEnergyModel(8, seed=0),
    "restricted markov": RestrictedModel(MarkovModel.random(2, 4), [1]),
    "restricted table": RestrictedModel(TableModel.random(1, 4, 5, stop_token_ids=(3,)), [0]),
}


@pytest.mark.parametrize("name", MODELS)
def test_contract(name):
    check_model(MODELS[name], tolerance=1e-12)


def test_log_probabilities_of_extreme_energies():
    energies = np.array([1e4, 1e4 + 2, np.inf, 1e4])
    assert np.allclose(log_probabilities(energies, 1.0), -np.log(2 + np.exp(-2)) - np.array([0, 2, np.inf, 0]))
    assert np.allclose(np.exp(log_probabilities(energies, 0.0)), [1 / 3, 1 / 3, 0, 1 / 3])
    assert np.exp(log_probabilities(energies, np.inf)).tolist() == [0.5, 0, 0, 0.5]
    assert log_probabilities(np.array([0.0, 2000.0]), 1.0)[1] == pytest.approx(-2000)


def test_tokens_are_a_stable_view():
    session = UrnModel().open([[], [1, 1]])
    session.push([0, 1])
    earlier = session.tokens
    for _ in range(40):
        session.push([1, 0])
    assert [list(row) for row in earlier] == [[0], [1, 1, 1]]
    assert session.tokens[1] == [1, 1, 1] + [0] * 40
    assert len(session.tokens) == 2 and session.tokens[-1:] == [session.tokens[1]]


def test_a_long_sequence_is_scored_in_large_chunks():
    windows = list(MarkovModel(np.zeros((64, 64))).score([[0, 1] * 1500]))
    assert [len(window.rows) for window in windows] == [1024, 1024, 951]


def test_a_wide_batch_is_fast():
    """6,400 rows by 100 steps take about 0.03 s; 2 s leaves room for a busy machine."""
    session, column = UrnModel().open([[]] * 6400), np.ones(6400, int)
    begin = time.perf_counter()
    for _ in range(100):
        session.energies()
        session.push(column)
    assert time.perf_counter() - begin < 2


def test_symbols_make_text_and_back():
    model = MarkovModel(np.zeros((3, 3)), symbols=[b"a", b"ab", "é".encode()])
    assert model.encode("aabé") == [0, 1, 2]
    assert model.decode([0, 1, 2]) == "aabé"
    with pytest.raises(BadInput, match="no symbol for 'ax' at byte 1"):
        model.encode("ax")
    with pytest.raises(BadInput, match="2 different, non-empty byte strings"):
        MarkovModel(np.zeros((2, 2)), symbols=[b"a", b"a"])


def test_large_vocabularies_get_numbered_symbols():
    model = MarkovModel(np.zeros((60, 60)))
    assert model.encode("<59><0>") == [59, 0]


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (lambda model: model.open([]), "at least one prompt"),
        (lambda model: model.open([[0, 2]]), "token id 2 is outside the vocabulary of 2"),
        (lambda model: model.open([[0.5]]), "token id 0.5"),
        (lambda model: model.open([[[0]]]), "must be a flat list"),
        (lambda model: model.open([[0]]).push([0, 1]), "one token id for each of 1 rows"),
        (lambda model: model.open([[0]]).push([-1]), "token id -1"),
        (lambda model: model.open([[0]]).fork([0, 1]), "from 0 to 0"),
        (lambda model: model.token_bytes(2), "outside"),
    ],
)
def test_bad_input_is_one_sentence(action, said):
    with pytest.raises(BadInput, match=said):
        action(UrnModel())
