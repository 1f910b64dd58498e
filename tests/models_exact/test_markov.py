"""MarkovModel: transfer matrices against sums over all sequences."""

from itertools import product

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.models import MarkovModel

CHAIN = MarkovModel.random(5, 3)
BETAS = [0.0, 0.5, 1.0, 2.5]


def total_energy(model, tokens):
    session, total = model.open([[]]), 0.0
    for token in tokens:
        total += session.energies()[0, token]
        session.push([token])
    return total


@pytest.mark.parametrize("beta", BETAS)
def test_the_transfer_matrix_sums_over_all_sequences(beta):
    every = [total_energy(CHAIN, x) for x in product(range(3), repeat=5)]
    assert CHAIN.log_z(5, beta) == pytest.approx(np.log(np.exp(-beta * np.array(every)).sum()), abs=1e-12)


def test_forbidden_steps_are_forbidden_at_every_beta():
    model = MarkovModel([[0.0, np.inf], [1.0, 2.0]], [0.0, np.inf])
    assert model.log_z(3, 0.0) == pytest.approx(0.0)
    assert model.transition_matrix(0.0)[0].tolist() == [1.0, 0.0]
    assert model.logprob([0, 1]) == -np.inf


@pytest.mark.parametrize("beta", BETAS)
def test_sequence_probabilities_are_products_of_steps_and_sum_to_one(beta):
    total = sum(np.exp(CHAIN.logprob(x, beta)) for x in product(range(3), repeat=4))
    assert total == pytest.approx(1, abs=1e-12)
    first, step = CHAIN.initial_distribution(beta), CHAIN.transition_matrix(beta)
    assert np.exp(CHAIN.logprob([2, 0, 1], beta)) == pytest.approx(first[2] * step[2, 0] * step[0, 1])


@pytest.mark.parametrize("beta", BETAS)
def test_the_stationary_distribution_is_invariant_and_the_limit_of_powers(beta):
    law, step = CHAIN.stationary_distribution(beta), CHAIN.transition_matrix(beta)
    assert np.allclose(law @ step, law, atol=1e-14)
    assert np.allclose(np.linalg.matrix_power(step, 200), law, atol=1e-12)


def test_the_entropy_rate_is_the_increment_of_the_entropy_of_sequences():
    started = MarkovModel(CHAIN._table[:-1], -np.log(CHAIN.stationary_distribution()))
    logp = {n: np.array([started.logprob(x) for x in product(range(3), repeat=n)]) for n in (4, 5)}
    entropy = {n: -(np.exp(values) @ values) for n, values in logp.items()}
    assert entropy[5] - entropy[4] == pytest.approx(started.entropy_rate(), abs=1e-12)


def test_correlations_match_joint_probabilities_of_a_long_chain():
    law, step = CHAIN.stationary_distribution(), CHAIN.transition_matrix()
    joint = np.einsum("i,ij,jk->ik", law, step, step)
    assert np.allclose(CHAIN.correlation(2), joint - np.outer(law, law), atol=1e-14)
    assert np.allclose(CHAIN.correlation(0), np.diag(law) - np.outer(law, law), atol=1e-14)
    assert np.abs(CHAIN.correlation(60)).max() < 1e-12


@pytest.mark.parametrize(
    ("energies", "initial", "said"),
    [
        (np.zeros((2, 3)), None, "square"),
        (np.zeros((2, 2)), [0.0], "shape"),
        ([[0.0, np.nan], [0.0, 0.0]], None, "NaN"),
        ([[np.inf, np.inf], [0.0, 0.0]], None, "finite"),
    ],
)
def test_bad_chains_are_refused(energies, initial, said):
    with pytest.raises(BadInput, match=said):
        MarkovModel(energies, initial)


def test_a_chain_in_two_parts_has_no_single_stationary_distribution():
    with pytest.raises(BadInput, match="closed classes"):
        MarkovModel([[0.0, np.inf], [np.inf, 0.0]]).stationary_distribution()
