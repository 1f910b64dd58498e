"""The identities of docs/theory.md that hold for one set of energies, in its order, through the public names alone.

Integrals are Gauss-Legendre sums of 24 nodes over a short stretch of beta: exact to rounding for such smooth functions.
"""

from __future__ import annotations

from typing import Any

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
TOLERANCE = 1e-9


def _integral(energies: Floats, low: float, high: float, name: str) -> float:
    nodes, weights = np.polynomial.legendre.leggauss(24)
    betas = low + (high - low) * (nodes + 1) / 2
    values: Floats = getattr(hb.curve(energies, betas), name)
    return float(weights @ values) * (high - low) / 2


def _gain(energies: Floats, low: float, high: float, name: str) -> float:
    return float(getattr(hb.state(energies, high), name) - getattr(hb.state(energies, low), name))


@given(ENERGIES, BETAS)
def test_log_z_falls_by_the_mean_energy(energies: Floats, beta: float) -> None:
    low, high = beta, 1.05 * beta
    gain = _gain(energies, low, high, "log_z")
    assert gain == pytest.approx(-_integral(energies, low, high, "mean_energy"), rel=1e-5, abs=1e-5)


@given(ENERGIES, BETAS)
def test_the_mean_energy_falls_by_its_variance(energies: Floats, beta: float) -> None:
    low, high = beta, 1.05 * beta
    gain = _gain(energies, low, high, "mean_energy")
    assert gain == pytest.approx(-_integral(energies, low, high, "variance"), rel=1e-4, abs=1e-5)


@given(ENERGIES, BETAS)
def test_the_heat_capacity_is_the_variance_of_the_surprisal_and_has_a_ceiling(energies: Floats, beta: float) -> None:
    here = hb.state(energies, beta)
    logp = -beta * energies - here.log_z
    surprise = np.exp(logp) @ (logp + here.entropy) ** 2
    assert here.heat_capacity == pytest.approx(beta**2 * here.variance, rel=TOLERANCE)
    assert here.heat_capacity == pytest.approx(surprise, rel=1e-6, abs=1e-9)
    assert here.heat_capacity <= np.log(len(energies) - 1) ** 2 / 4 + 1


@given(ENERGIES, BETAS)
def test_entropy_is_log_z_and_beta_u(energies: Floats, beta: float) -> None:
    here = hb.state(energies, beta)
    p = np.exp(-beta * energies - here.log_z)
    assert here.entropy == pytest.approx(here.log_z + beta * here.mean_energy, abs=1e-9)
    assert here.entropy == pytest.approx(-p[p > 0] @ np.log(p[p > 0]), abs=1e-9)


def test_entropy_runs_from_the_ground_states_to_all_that_are_allowed() -> None:
    energies = np.array([1.0, 1.0, 2.0, 5.0, np.inf])
    assert hb.state(energies, np.inf).entropy == pytest.approx(np.log(2))
    assert hb.state(energies, 0.0).entropy == pytest.approx(np.log(4))


@given(ENERGIES, BETAS, st.floats(-50, 50))
def test_a_constant_moves_the_gauge_alone(energies: Floats, beta: float, constant: float) -> None:
    here, there = hb.state(energies, beta), hb.state(energies + constant, beta)
    assert there.log_z == pytest.approx(here.log_z - beta * constant, abs=1e-9)
    assert there.mean_energy == pytest.approx(here.mean_energy + constant, abs=1e-9)
    for name in ("entropy", "heat_capacity", "p_max", "purity"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), abs=1e-8)


@given(ENERGIES, BETAS, st.floats(0.3, 3))
def test_scaling_the_energies_is_scaling_beta(energies: Floats, beta: float, factor: float) -> None:
    assert hb.state(factor * energies, beta).log_z == pytest.approx(hb.state(energies, factor * beta).log_z, abs=1e-9)


@given(ENERGIES, ENERGIES, BETAS)
def test_independent_systems_add(one: Floats, other: Floats, beta: float) -> None:
    both: Any = hb.state(np.add.outer(one, other).ravel(), beta)
    for name in ("log_z", "mean_energy", "entropy", "heat_capacity"):
        parts = getattr(hb.state(one, beta), name) + getattr(hb.state(other, beta), name)
        assert getattr(both, name) == pytest.approx(parts, rel=1e-8, abs=1e-8)


@given(ENERGIES, BETAS)
def test_powers_of_probabilities_are_ratios_of_partition_functions(energies: Floats, beta: float) -> None:
    here = hb.state(energies, beta)
    p = np.exp(-beta * energies - here.log_z)
    assert here.purity == pytest.approx(np.exp(hb.state(energies, 2 * beta).log_z - 2 * here.log_z), rel=1e-8)
    for q in (0.5, 3.0):
        assert (p**q).sum() == pytest.approx(np.exp(hb.state(energies, q * beta).log_z - q * here.log_z), rel=1e-8)
    assert here.p_max == pytest.approx(p.max(), rel=1e-9)


@given(ENERGIES, st.integers(1, 40))
def test_bounds_from_a_top_k_list_hold(energies: Floats, k: int) -> None:
    here = hb.state(energies, 1.0)
    logp = np.sort(-energies - here.log_z)[::-1]
    known = hb.bounds(logp[: min(k, len(logp))], len(logp))
    assert known.entropy.low - 1e-9 <= here.entropy <= known.entropy.high + 1e-9
    assert known.purity.low - 1e-9 <= here.purity <= known.purity.high + 1e-9
