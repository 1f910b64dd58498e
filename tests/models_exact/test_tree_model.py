"""TableModel against brute force over all sequences."""

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.models import TableModel
from heatbath.models.exact.base import log_probabilities


def walked(model: TableModel, sequence: tuple[int, ...], beta: float) -> float:
    session, total = model.open([[]]), 0.0
    for token in sequence:
        total += log_probabilities(session.energies(), beta)[0, token]
        session.push([token])
    return total


@pytest.mark.parametrize("stop", [(), (2,), (0, 2)])
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0, 3.0, np.inf])
def test_listed_probabilities_are_those_of_a_session(stop, beta):
    model = TableModel.random(1, 3, 4, stop_token_ids=stop)
    logprobs = model.logprobs(beta)
    assert np.allclose(logprobs, [walked(model, sequence, beta) for sequence in model.sequences()], atol=1e-12)
    assert np.exp(logprobs).sum() == pytest.approx(1, abs=1e-12)


def test_sequences_end_at_the_stop_token_or_at_the_length():
    sequences = TableModel.random(0, 3, 3, stop_token_ids=(1,)).sequences()
    assert len(sequences) == len(set(sequences)) == 1 + 2 * 1 + 4 * 3
    assert all(len(s) == 3 or s[-1] == 1 for s in sequences) and all(1 not in s[:-1] for s in sequences)


def test_energies_add_along_a_sequence():
    table = {(): [0.0, 1.0], (0,): [2.0, 3.0], (1,): [5.0, 7.0]}
    model = TableModel(table, 2)
    assert model.sequences() == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert model.energies().tolist() == [2, 3, 6, 8]


def test_after_the_end_the_next_token_is_certain_or_an_error():
    ended = TableModel.random(0, 3, 2, stop_token_ids=(2,)).open([[2], [0, 1]])
    assert ended.energies().tolist() == [[np.inf, np.inf, 0.0]] * 2
    full = TableModel.random(0, 3, 2).open([[0, 1]])
    with pytest.raises(BadInput, match="ends after 2 tokens"):
        full.energies()
    with pytest.raises(BadInput, match="3 tokens are more than the 2"):
        full.push([0])


@pytest.mark.parametrize(
    ("table", "length", "stop", "said"),
    [
        ({(): [0.0, 1.0]}, 2, (), r"no energies for the prefix \(0,\)"),
        ({(): [0.0, np.nan]}, 1, (), "not NaN"),
        ({(): [np.inf, np.inf]}, 1, (), "one of them finite"),
        ({(): [0.0, 1.0]}, 0, (), "at least 1"),
        ({(): [0.0, 1.0]}, 1, (2,), "must be in the vocabulary"),
        ({(): [0.0] * 10}, 9, (), "too many"),
    ],
)
def test_bad_tables_are_refused_in_one_sentence(table, length, stop, said):
    with pytest.raises(BadInput, match=said):
        TableModel(table, length, stop_token_ids=stop)


def test_the_fingerprint_depends_on_every_parameter():
    models = [TableModel.random(s, 3, n, stop_token_ids=stop) for s in (0, 1) for n in (2, 3) for stop in ((), (1,))]
    assert len({model.fingerprint for model in models}) == 8
    assert TableModel.random(0, 3, 2).fingerprint == models[0].fingerprint
