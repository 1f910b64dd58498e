"""A follower gives the same energies whatever a sampler does with its rows, and pays one push where it can."""

import numpy as np
import pytest
from stepping import context_of

from heatbath.energy import Context
from heatbath.errors import BadInput
from heatbath.experts.auxiliary_session import AuxiliarySession, normalize_energies
from heatbath.models import MarkovModel, TableModel

MODEL = TableModel.random(0, 4, 8, stop_token_ids=(3,), scale=2.0)


class Counting:
    """A model that writes down what its sessions are asked."""

    def __init__(self, model, breaks_at=None):
        self.model, self.vocabulary, self.calls, self.breaks_at = model, model.vocabulary, [], breaks_at

    def open(self, prompts):
        self.calls.append("open")
        self.session = self.model.open(prompts)
        return self

    def energies(self):
        return self.session.energies()

    def push(self, tokens):
        self.calls.append("push")
        if self.breaks_at == len(self.calls):
            raise RuntimeError("out of memory")
        self.session.push(tokens)

    def fork(self, indices):
        self.calls.append("fork")
        self.session.fork(indices)

    def close(self):
        self.calls.append("close")
        self.session.close()


def fresh(rows):
    return MODEL.open(rows).energies()


def ask(follower, rows):
    return follower.energies(Context(rows, [0] * len(rows), 4))


def test_growing_forked_and_dropped_rows_are_reached_by_fork_and_push():
    model = Counting(MODEL)
    follower = AuxiliarySession(model)
    path = [
        ([[], []], ["open"]),
        ([[0], [1]], ["push"]),
        ([[0], [1]], []),
        ([[1, 2], [1, 0], [0, 0]], ["fork", "push"]),
        ([[0, 0], [1, 2]], ["fork"]),
        ([[1, 2], [1, 2]], ["fork"]),
        ([[2, 2], [1, 2]], ["close", "open"]),
        ([[2, 2, 0]], ["fork", "push"]),
        ([[2, 2]], ["close", "open"]),
    ]
    for rows, calls in path:
        model.calls.clear()
        assert np.array_equal(ask(follower, rows), fresh(rows))
        assert model.calls == calls, rows


def test_any_walk_of_rows_gives_what_opening_them_gives():
    rng = np.random.default_rng(1)
    follower, rows = AuxiliarySession(MODEL), [[]]
    for _ in range(300):
        kind = rng.integers(4)
        if kind == 0:
            rows = [rows[i] for i in rng.integers(len(rows), size=rng.integers(1, 5))]
        elif kind == 1:
            rows = [[*row, int(rng.integers(4))][:7] for row in rows]
        elif kind == 2:
            rows = [rng.integers(4, size=rng.integers(0, 5)).tolist() for _ in rows]
        assert np.array_equal(ask(follower, rows), fresh(rows))


def test_another_prompt_stands_in_place_of_the_rows_own():
    follower = AuxiliarySession(MODEL, lambda prompt: [*prompt[:1], 2])
    context = Context([[0, 1, 1], [1, 0, 0, 2]], [2, 2], 4)
    assert np.array_equal(follower.energies(context), fresh([[0, 2, 1], [1, 2, 0, 2]]))


def test_an_empty_prompt_is_the_document_start_also_when_rows_are_reopened():
    from dataclasses import replace

    chain = MarkovModel.random(0, 4)
    chain.vocabulary = replace(chain.vocabulary, start_token_ids=(2,))
    follower = AuxiliarySession(chain, lambda prompt: [])
    context = Context([[1]], [1], 4)
    assert np.array_equal(follower.energies(context), chain.open([[2]]).energies())
    other = Context([[1, 3, 0]], [1], 4)
    assert np.array_equal(follower.energies(other), chain.open([[2, 3, 0]]).energies())


def test_a_step_that_fails_halfway_is_not_taken_for_a_session_in_step():
    model = Counting(MODEL, breaks_at=3)
    follower = AuxiliarySession(model)
    ask(follower, [[0], [1]])
    with pytest.raises(RuntimeError, match="out of memory"):
        ask(follower, [[1, 0]])
    assert np.array_equal(ask(follower, [[1, 0]]), fresh([[1, 0]]))
    assert model.calls == ["open", "fork", "push", "open"]


def test_vocabularies_that_differ_in_size_are_refused():
    with pytest.raises(BadInput, match="vocabularies differ: table has 4 tokens, the model it is added to has 5"):
        AuxiliarySession(MODEL).energies(Context([[0]], [0], 5))


def test_normalised_energies_have_no_free_energy_left():
    torch = pytest.importorskip("torch")
    energies = np.array([[1.0, 2.0, np.inf], [-3.0, 0.0, 500.0]])
    assert np.allclose(np.exp(-normalize_energies(energies)).sum(-1), 1, atol=1e-14)
    assert np.allclose(normalize_energies(torch.tensor(energies)).numpy(), normalize_energies(energies), equal_nan=True)
    half = normalize_energies(torch.tensor(energies[:1]).half())
    assert half.dtype == torch.float32 and abs(float(torch.exp(-half).sum()) - 1) < 1e-6


def test_the_probe_sees_energies_in_the_context():
    assert np.array_equal(context_of(MODEL, [[0], [1]]).energies, fresh([[0], [1]]))


@pytest.mark.weights
def test_on_the_default_model_a_fork_and_a_push_give_what_reopening_gives(smollm2):
    prompt = smollm2.encode("The weather today is")
    follower = AuxiliarySession(smollm2, lambda own: prompt)
    first, second, third = smollm2.encode(" nice and cold")[:3]
    for rows in ([[], []], [[first], [second]], [[second, third], [second, first], [first, first]], [[first, first]]):
        context = Context(rows, [0] * len(rows), smollm2.vocabulary.size)
        found = normalize_energies(follower.energies(context)).numpy()
        fresh = normalize_energies(smollm2.open([[*prompt, *row] for row in rows]).energies()).numpy()
        assert np.abs(found - fresh).max() < 1e-3
