"""The density of states against visiting every state."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ensembles import as_format, normal

from heatbath.ensemble import curve, state

V = 20_000
BETAS = np.geomspace(0.05, 30.0, 12)


def spectra() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    crowded = np.full(V, math.log(V))
    crowded[0] = 0.0
    skewed = 9.0 + 0.02 * rng.exponential(1.0, V)
    skewed[0] = 0.0
    split = np.where(np.arange(V) % 5 == 0, 9.115, 9.005)
    split[0] = 0.0
    return {
        "two levels, the upper one split": split,
        "normal": normal(0, (V,)),
        "spread of 1e4": normal(1, (V,), 1e4),
        "heavy tail": rng.standard_t(2, V),
        "nearly degenerate": normal(2, (V,), 1e-3),
        "two levels": crowded,
        "two levels, the upper one skewed": skewed,
        "uniform": rng.uniform(0, 12, V),
        "half absent": np.where(np.arange(V) % 2, normal(3, (V,)), np.inf),
        "far away": 1e4 + normal(4, (V,)),
    }


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("name", spectra())
def test_error_bound(name, kind):
    energies = as_format(spectra()[name], kind)
    if kind == "float16" and name == "spread of 1e4":
        pytest.skip("beyond the range of float16")
    got = curve(energies, BETAS)
    for k, beta in enumerate(BETAS):
        truth = state(energies, beta)
        assert abs(float(got.log_z[k] - truth.log_z)) <= 1e-5 + 1e-12 * abs(float(truth.log_z))
        assert abs(float(got.entropy[k] - truth.entropy)) <= 1e-5
        assert abs(float(got.heat_capacity[k] - truth.heat_capacity)) <= 1e-4
        assert float(got.purity[k]) == pytest.approx(float(truth.purity), rel=1e-4)


ANY = [[0.0, 0.5, 1.0, 2.0, 5.0, math.inf], [1e-12, 1.0, 1e12, 3.0, 4.0], [1e-40, 1, 2, 3, 1e40]]


@pytest.mark.parametrize("betas", ANY)
def test_any_betas(betas):
    energies = normal(7, (3, V)).astype(np.float32)
    got = curve(energies, np.array(betas))
    for k, beta in enumerate(betas):
        np.testing.assert_allclose(got.entropy[k], state(energies, beta).entropy, atol=1e-5)
        np.testing.assert_allclose(got.mean_energy[k], state(energies, beta).mean_energy, atol=1e-4)


def test_shapes():
    assert curve(normal(8, (2, 3, 9)), BETAS).log_z.shape == (len(BETAS), 2, 3)
    assert curve(normal(8, (9,)), BETAS).log_z.shape == (len(BETAS),)
