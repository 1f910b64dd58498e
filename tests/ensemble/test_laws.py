"""The laws of statistical mechanics, for any energies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ensembles import finite, quick, spectra, temperatures
from hypothesis import given
from hypothesis import strategies as st

from heatbath.ensemble import state


@quick
@given(spectra, temperatures)
def test_derivatives(e, t):
    beta, h = 1.0 / t, 1e-4 / t
    low, here, high = (state(e - e.min(), b) for b in (beta - h, beta, beta + h))
    scale = 1.0 + float(here.heat_capacity)
    assert -(high.log_z - low.log_z) / (2 * h) * beta == pytest.approx(beta * here.mean_energy, abs=1e-4 * scale)
    assert -(high.mean_energy - low.mean_energy) / (2 * h) * beta**2 == pytest.approx(
        here.heat_capacity, abs=1e-4 * scale
    )


@quick
@given(spectra, temperatures, st.floats(-1e4, 1e4))
def test_gauge(e, t, shift):
    here, moved = state(e, 1 / t), state(e + shift, 1 / t)
    assert moved.log_z == pytest.approx(here.log_z - shift / t, abs=1e-9 * (1 + 1e4 / t))
    assert moved.mean_energy == pytest.approx(here.mean_energy + shift, abs=1e-8)
    for name in ("entropy", "heat_capacity", "purity", "p_max"):
        assert getattr(moved, name) == pytest.approx(getattr(here, name), abs=1e-7 * (1 + 1 / t))


@quick
@given(spectra, temperatures, st.floats(0.1, 10))
def test_scaling(e, t, factor):
    here, scaled = state(e, factor / t), state(e * factor, 1 / t)
    assert scaled.log_z == pytest.approx(here.log_z, abs=1e-9, rel=1e-12)
    assert scaled.entropy == pytest.approx(here.entropy, abs=1e-9)
    assert scaled.heat_capacity == pytest.approx(here.heat_capacity, abs=1e-8, rel=1e-8)


@quick
@given(spectra, spectra, temperatures)
def test_independent_systems_add(e, f, t):
    a, b, both = state(e, 1 / t), state(f, 1 / t), state((e[:, None] + f).ravel(), 1 / t)
    for name in ("log_z", "mean_energy", "entropy", "heat_capacity", "variance"):
        x, y = getattr(a, name), getattr(b, name)
        assert getattr(both, name) == pytest.approx(x + y, abs=1e-7 * (1 + 1 / t), rel=1e-9)
    assert both.purity == pytest.approx(a.purity * b.purity, rel=1e-6)


@quick
@given(spectra, temperatures, st.integers(2, 9))
def test_degeneracy_adds_its_logarithm(e, t, copies):
    one, many = state(e, 1 / t), state(np.tile(e, copies), 1 / t)
    assert many.entropy == pytest.approx(one.entropy + math.log(copies), abs=1e-9)
    assert many.heat_capacity == pytest.approx(one.heat_capacity, abs=1e-8, rel=1e-8)
    assert many.p_max == pytest.approx(one.p_max / copies)


@quick
@given(spectra, st.one_of(temperatures.map(lambda t: 1 / t), st.sampled_from([0.0, math.inf])), st.integers(1, 50))
def test_absent_states_change_nothing(e, beta, count):
    here, padded = state(e, beta), state(np.concatenate([np.full(count, np.inf), e]), beta)
    for name in ("log_z", "mean_energy", "variance", "entropy", "heat_capacity", "p_max", "purity", "ground"):
        assert getattr(padded, name) == pytest.approx(getattr(here, name), rel=1e-9, abs=1e-9)


@quick
@given(spectra)
def test_limits(e):
    hot, cold = state(e, 0.0), state(e, math.inf)
    assert hot.entropy == pytest.approx(math.log(len(e)), abs=1e-12)
    assert hot.mean_energy == pytest.approx(e.mean(), abs=1e-9)
    assert hot.variance == pytest.approx(e.var(), abs=1e-6, rel=1e-9)
    ties = int((e == e.min()).sum())
    assert cold.entropy == pytest.approx(math.log(ties), abs=0.0)
    assert cold.p_max == 1.0 / ties and cold.purity == 1.0 / ties
    assert cold.mean_energy == e.min() and cold.variance == 0.0 and cold.heat_capacity == 0.0


@quick
@given(st.integers(3, 2000), st.floats(0.01, 30), temperatures)
def test_heat_capacity_stays_below_its_ceiling(count, gap, t):
    e = np.full(count, gap)
    e[0] = 0.0
    assert state(e, 1 / t).heat_capacity <= 0.25 * math.log(count - 1) ** 2 + 1.0 + 1e-9


@quick
@given(st.floats(0, 1e4), temperatures, finite)
def test_two_levels(gap, t, ground):
    here = state(np.array([ground, ground + gap]), 1 / t)
    gap = (ground + gap) - ground
    p = 1.0 / (1.0 + math.exp(min(gap / t, 700.0)))
    assert here.mean_energy == pytest.approx(ground + p * gap, abs=1e-8)
    assert here.heat_capacity == pytest.approx((gap / t) ** 2 * p * (1 - p), abs=1e-9)


@pytest.mark.parametrize("t", [0.3, 1.0, 3.0])
def test_harmonic_ladder(t):
    step = 0.7
    here = state(step * np.arange(2000.0), 1 / t)
    x = step / t
    assert here.log_z == pytest.approx(-math.log1p(-math.exp(-x)), abs=1e-12)
    assert here.mean_energy == pytest.approx(step / math.expm1(x), abs=1e-12)
    assert here.heat_capacity == pytest.approx((x / 2 / math.sinh(x / 2)) ** 2, abs=1e-12)
