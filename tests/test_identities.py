"""Identities of docs/theory.md that are no law of their own in tests/ensemble: what S, C and powers of p come to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import heatbath as hb

Floats = npt.NDArray[np.float64]
ENERGIES = arrays(np.float64, st.integers(2, 40), elements=st.floats(-12, 12))
BETAS = st.floats(0.2, 5)


@given(ENERGIES, BETAS)
def test_the_heat_capacity_is_the_variance_of_the_surprisal(energies: Floats, beta: float) -> None:
    here = hb.state(energies, beta)
    logp = -beta * energies - here.log_z
    surprise = np.exp(logp) @ (logp + here.entropy) ** 2
    assert here.heat_capacity == pytest.approx(beta**2 * here.variance, rel=1e-9)
    assert here.heat_capacity == pytest.approx(surprise, rel=1e-6, abs=1e-9)


@given(ENERGIES, BETAS)
def test_entropy_is_log_z_and_beta_u(energies: Floats, beta: float) -> None:
    here = hb.state(energies, beta)
    p = np.exp(-beta * energies - here.log_z)
    assert here.entropy == pytest.approx(here.log_z + beta * here.mean_energy, abs=1e-9)
    assert here.entropy == pytest.approx(-p[p > 0] @ np.log(p[p > 0]), abs=1e-9)


@given(ENERGIES, BETAS)
def test_powers_of_probabilities_are_ratios_of_partition_functions(energies: Floats, beta: float) -> None:
    here = hb.state(energies, beta)
    p = np.exp(-beta * energies - here.log_z)
    assert here.purity == pytest.approx(np.exp(hb.state(energies, 2 * beta).log_z - 2 * here.log_z), rel=1e-8)
    for q in (0.5, 3.0):
        assert (p**q).sum() == pytest.approx(np.exp(hb.state(energies, q * beta).log_z - q * here.log_z), rel=1e-8)
    assert here.p_max == pytest.approx(p.max(), rel=1e-9)
