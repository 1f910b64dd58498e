"""RandomEnergyModel: token energies that make sequences Boltzmann at T = 1, and freezing at the known temperature."""

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.models import RandomEnergyModel


def test_at_temperature_one_a_sequence_has_its_boltzmann_probability():
    model = RandomEnergyModel(9, seed=3)
    assert np.allclose(model.logprobs(), -model.sequence_energies - model.log_z(1.0), atol=1e-11)


def test_at_another_temperature_it_has_not():
    model = RandomEnergyModel(9, seed=3)
    off = model.logprobs(2.0) - (-2 * model.sequence_energies - model.log_z(2.0))
    assert np.abs(off).max() > 0.1


def test_entropy_is_the_legendre_transform_and_falls_from_all_to_one_state():
    model = RandomEnergyModel(10, seed=0)
    slope = (model.log_z(1 + 1e-6) - model.log_z(1 - 1e-6)) / 2e-6
    assert model.entropy(1.0) == pytest.approx(model.log_z(1.0) - slope, abs=1e-6)
    assert model.entropy(0.0) == pytest.approx(10 * np.log(2))
    assert model.entropy(np.inf) == 0


@pytest.mark.parametrize("beta", [0.4, 0.8, 1.2])
def test_above_freezing_the_entropy_per_token_is_the_annealed_one(beta):
    r"""$s = \ln 2 - \beta^2/4$ up to finite size; mean over 8 models of 2^16, within 0.03 nats a token."""
    entropies = [RandomEnergyModel(16, seed=seed).entropy(beta) / 16 for seed in range(8)]
    assert np.mean(entropies) == pytest.approx(np.log(2) - beta**2 / 4, abs=0.03)


def test_below_freezing_the_energy_per_token_stays_and_the_entropy_is_a_few_states():
    """The ground state lies near -sqrt(ln 2) a token, and beyond beta_c the entropy is of order one, not of length."""
    models = [RandomEnergyModel(16, seed=seed) for seed in range(8)]
    beta = 2 * models[0].critical_beta
    assert models[0].critical_beta == pytest.approx(1.6651, abs=1e-4)
    assert np.mean([model.entropy(beta) for model in models]) < 1.0
    assert np.mean([model.sequence_energies.min() / 16 for model in models]) == pytest.approx(-0.8326, abs=0.13)


@pytest.mark.parametrize("length", [0, 17])
def test_lengths_out_of_range_are_refused(length):
    with pytest.raises(BadInput, match="1 to 16"):
        RandomEnergyModel(length, seed=0)
