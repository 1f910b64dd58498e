"""Noise has the law it states. Chi-square and z-tests fail a right law once in 10^5 seeds; the seeds are fixed."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, softmax
from scipy.stats import chi2, logistic, norm

from heatbath.energy import Context
from heatbath.energy.noise import GaussianNoise, GumbelNoise
from heatbath.errors import BadInput
from heatbath.testing import check_field

ERROR_RATE = 1e-5
N = 20_000
ENERGIES = np.array([0.0, 0.4, 1.0, 2.0, 0.1])
MANY = Context([[]] * N, [0] * N, len(ENERGIES))


def p_value(chosen, probability):
    counts = np.bincount(chosen, minlength=len(probability))
    expected = probability * len(chosen)
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), len(probability) - 1)


@pytest.mark.parametrize("scale", [0.7, 2.0])
def test_the_ground_state_with_gumbel_noise_is_a_draw(scale):
    chosen = (ENERGIES + GumbelNoise(scale, 1)(MANY)).argmin(-1)
    assert p_value(chosen, softmax(-ENERGIES / scale)) > ERROR_RATE
    assert p_value(chosen, softmax(-ENERGIES / scale / 1.25)) < ERROR_RATE, "a temperature 25 % off must be seen"


def test_gumbel_noise_and_a_draw_have_the_law_of_two_noises():
    scale, temperature, gap = 1.0, 0.8, 1.2
    expected = quad(lambda x: logistic.pdf(x) * expit((gap + scale * x) / temperature), -40, 40)[0]
    pair = Context([[]] * N, [0] * N, 2)
    probability = expit(gap / temperature + np.diff(GumbelNoise(scale, 2)(pair), axis=-1)[:, 0] / temperature)
    z = (probability.mean() - expected) / (probability.std() / N**0.5)
    assert abs(z) < norm.isf(ERROR_RATE / 2)
    assert abs(expit(gap / np.hypot(scale, temperature)) - expected) < 0.01, "near the temperature of that variance"
    assert abs(expit(gap / temperature) - expected) > 0.03, "and far from the one drawn at"


def test_moments():
    rows, columns = 3000, 20
    context = Context([[]] * rows, [0] * rows, columns)
    for noise, variance in ((GumbelNoise(1.5, 3), 1.5**2 * np.pi**2 / 6), (GaussianNoise(1.5, 3), 1.5**2)):
        values = noise(context).astype(np.float64).ravel()
        mean = -1.5 * np.euler_gamma if isinstance(noise, GumbelNoise) else 0.0
        most, off = norm.isf(ERROR_RATE / 2), values - mean
        assert abs(off.mean()) < most * off.std() / off.size**0.5
        assert abs((off**2).mean() - variance) < most * (off**2).std() / off.size**0.5
        correlation = np.corrcoef(values.reshape(rows, columns).T) - np.eye(columns)
        assert np.abs(correlation).max() < norm.isf(ERROR_RATE / 2 / columns**2) / rows**0.5


def test_the_laws_of_gaussian_noise():
    scale, beta = 0.3, 1.0
    noisy = ENERGIES + GaussianNoise(scale, 4)(MANY).astype(np.float64)
    weights, p = np.exp(-beta * noisy), softmax(-beta * ENERGIES)
    annealed = np.exp(-beta * ENERGIES + (beta * scale) ** 2 / 2)
    most = norm.isf(ERROR_RATE / 2 / 10)
    assert (np.abs(weights.mean(0) - annealed) < most * weights.std(0) / N**0.5).all()
    drawn = softmax(-beta * noisy, axis=-1)
    quenched = p * (1 + (beta * scale) ** 2 * ((p**2).sum() - p))
    # The next order is (beta s)^4, below 1e-3 here.
    assert (np.abs(drawn.mean(0) - quenched) < most * drawn.std(0) / N**0.5 + 1e-3).all()
    assert (np.abs(drawn.mean(0) - p) > most * drawn.std(0) / N**0.5).any(), "the correction must be seen"


@pytest.mark.parametrize("make", [GumbelNoise, GaussianNoise])
def test_noise_belongs_to_seed_row_and_position(make):
    context = Context([[1, 2], [1, 2], [1]], [1, 1, 1], 6, row_ids=[5, 6, 5])
    found = make(1.0, 7)(context)
    assert len({row.tobytes() for row in found}) == 3
    again = make(1.0, 7)(Context([[3, 3]], [0], 6, row_ids=[5]))
    assert again[0].tolist() == found[0].tolist()
    assert make(1.0, 8)(context)[0].tolist() != found[0].tolist()
    assert np.allclose(make(2.0, 7)(context), 2 * found)
    assert not make(0.0, 7)(context).any()
    assert not make(1.0, 7)(Context([[1]], [0], 6, finished_mask=[True])).any()


@pytest.mark.parametrize("field", [GumbelNoise(0.5), GaussianNoise(2.0, 9)])
def test_contract(field):
    check_field(field)


def test_bad_noise():
    with pytest.raises(BadInput, match="scale` of field 'gumbel_noise' must be .*, got -1"):
        GumbelNoise(-1.0)
    with pytest.raises(BadInput, match="scale` of field 'gaussian_noise' must be .*, got inf"):
        GaussianNoise(np.inf)
    with pytest.raises(BadInput, match="seed` of field 'gumbel_noise' must be .*, got -2"):
        GumbelNoise(1.0, -2)
