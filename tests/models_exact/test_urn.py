"""UrnModel: the exact distribution of counts against brute force, simulation and the known exponents."""

from itertools import product

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.models import UrnModel
from heatbath.models.exact.base import log_probabilities

URN = UrnModel(1.0)


def test_counts_are_sums_over_all_sequences():
    model, exact = UrnModel(1.7), np.zeros(8)
    for tokens in product(range(2), repeat=7):
        session, logp = model.open([[]]), 0.0
        for token in tokens:
            logp += log_probabilities(session.energies(), 1 / 0.9)[0, token]
            session.push([token])
        exact[sum(tokens)] += np.exp(logp)
    assert np.allclose(model.count_distribution(7, 0.9), exact, atol=1e-14)


def simulated(model: UrnModel, temperature: float, rows: int, length: int) -> np.ndarray:
    rng, session, total = np.random.default_rng(0), model.open([[]] * rows), np.zeros(rows)
    for _ in range(length):
        up = np.exp(log_probabilities(session.energies(), 1 / temperature)[:, 1])
        tokens = (rng.random(rows) < up).astype(int)
        session.push(tokens)
        total += 2 * tokens - 1
    return total / length


def z_score(temperature: float, drawn_at: float) -> float:
    """Variance of the mean spin of 256 tokens, drawn against exact, in standard errors."""
    square = simulated(URN, drawn_at, 6400, 256) ** 2
    return (square.mean() - URN.mean_spin_variance(256, temperature)) / (square.std() / np.sqrt(len(square)))


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3, 2.5])
def test_simulated_variance_is_within_four_standard_errors(temperature):
    """Fails for a right model with probability 6e-5 over seeds; the seed is fixed."""
    assert abs(z_score(temperature, temperature)) < 4


def test_the_simulation_sees_a_temperature_five_percent_off():
    assert abs(z_score(1.3, 1.3 * 0.95)) > 4


@pytest.mark.parametrize(("temperature", "m"), [(0.0, 1.0), (0.5, 0.957504), (1.0, 0.0), (3.0, 0.0)])
def test_the_order_parameter_solves_the_mean_field_equation(temperature, m):
    assert URN.order_parameter(temperature) == pytest.approx(m, abs=1e-6)
    if 0 < temperature < 1:
        assert np.tanh(URN.order_parameter(temperature) / temperature) == pytest.approx(m, abs=1e-6)


def test_temperature_scales_with_the_coupling():
    strong = UrnModel(2.0)
    assert strong.critical_temperature == 2
    assert strong.order_parameter(1.4) == URN.order_parameter(0.7)
    assert strong.growth_exponent(2.6) == URN.growth_exponent(1.3)
    assert strong.mean_spin_variance(40, 2.6) == pytest.approx(URN.mean_spin_variance(40, 1.3))


@pytest.mark.parametrize("temperature", [0.5, 1.3, 1.5, 2.5, 4.0])
def test_the_susceptibility_grows_with_the_known_exponent(temperature):
    """Local slopes at two sizes, extrapolated in the leading correction, whose power follows from the same theory."""
    slopes = [np.log2(URN.susceptibility(2 * n, temperature) / URN.susceptibility(n, temperature)) for n in (512, 1024)]
    gamma = URN.growth_exponent(temperature)
    assert abs(slopes[1] - gamma) <= abs(slopes[0] - gamma) + 1e-12
    assert slopes[1] == pytest.approx(gamma, abs=0.06)


def test_growth_between_j_and_2j_is_not_order():
    assert URN.growth_exponent(1.2) > 0.6 and URN.order_parameter(1.2) == 0
    assert URN.growth_exponent(2.0) == URN.growth_exponent(9.0) == 0
    assert URN.growth_exponent(1.0) == URN.growth_exponent(0.1) == 1


def test_at_zero_temperature_every_sequence_is_constant():
    assert URN.count_distribution(5, 0.0).tolist() == [0.5, 0, 0, 0, 0, 0.5]


@pytest.mark.parametrize("J", [0.0, -1.0, np.nan, np.inf])
def test_bad_couplings_are_refused(J):
    with pytest.raises(BadInput, match="positive"):
        UrnModel(J)


@pytest.mark.parametrize("temperature", [-1.0, np.nan, np.inf])
def test_bad_temperatures_are_refused(temperature):
    with pytest.raises(BadInput, match="temperature"):
        URN.order_parameter(temperature)
