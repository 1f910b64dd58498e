"""Draws: the definition, the edges, and the distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ensembles import as_format, normal, widened
from scipy import stats

from heatbath.ensemble import quantile, reference, state
from heatbath.errors import BadInput, NotANumber

ALMOST_ONE = 1.0 - 2.0**-53


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 3.0, math.inf])
def test_definition(kind, beta):
    rng = np.random.default_rng(0)
    energies = np.round(normal(1, (200, 700)), 1)
    energies[:, ::3] = np.inf
    given = as_format(energies, kind)
    uniform = rng.random(200)
    drawn, exact = quantile(given, beta, uniform), widened(given)
    assert drawn.dtype == np.int64
    for row, state_drawn in enumerate(drawn):
        running = np.concatenate([[0.0], np.cumsum(reference.probabilities(exact[row], beta))])
        assert running[state_drawn] - 1e-6 <= uniform[row] <= running[state_drawn + 1] + 1e-6
        assert np.isfinite(exact[row, state_drawn])


@pytest.mark.parametrize("beta", [0.0, 1.0, 50.0, math.inf])
@pytest.mark.parametrize("kind", ["float32", "float64", "float16"])
def test_the_ends_never_give_an_absent_state(kind, beta):
    energies = np.full((4, 1000), np.inf)
    energies[:, 300:310] = normal(2, (4, 10))
    energies[1, 309] = 60.0
    for uniform in (0.0, 5e-324, 0.5, ALMOST_ONE):
        drawn = quantile(energies.astype(kind), beta, np.full(4, uniform))
        assert ((drawn >= 300) & (drawn < 310)).all()


def test_hot_and_frozen_limits_are_exact():
    energies = np.array([3.0, np.inf, 1.0, 1.0, 2.0])
    hot = [int(quantile(energies, 0.0, u)) for u in (0.0, 0.2499, 0.25, 0.5, 0.75, ALMOST_ONE)]
    assert hot == [0, 0, 2, 3, 4, 4]
    cold = [int(quantile(energies, math.inf, u)) for u in (0.0, 0.4999, 0.5, ALMOST_ONE)]
    assert cold == [2, 2, 3, 3]


def draws(beta: float) -> tuple[np.ndarray, np.ndarray]:
    energies = normal(3, (600,), 2.0)
    uniform = np.random.default_rng(4).random(40_000)
    return energies, quantile(np.broadcast_to(energies.astype(np.float32), (40_000, 600)), beta, uniform)


def mean_energy_score(energies: np.ndarray, drawn: np.ndarray, beta: float) -> float:
    """Standard normal if the draws come from this beta."""
    here = state(energies, beta)
    return float((energies[drawn].mean() - here.mean_energy) / math.sqrt(here.variance / len(drawn)))


def test_distribution_and_that_the_test_sees_five_percent_of_temperature():
    """Chi-square at p > 1e-4 and |z| < 4: false alarms once in 6,000 seeds; this seed is fixed."""
    energies, drawn = draws(1.0)
    p = reference.probabilities(energies, 1.0)
    common = p * len(drawn) >= 5
    seen = np.bincount(drawn, minlength=600)
    observed = [*seen[common], seen[~common].sum()]
    expected = [*(p[common] * len(drawn)), p[~common].sum() * len(drawn)]
    assert stats.chisquare(observed, expected).pvalue > 1e-4
    assert abs(mean_energy_score(energies, drawn, 1.0)) < 4
    wrong = draws(1.0 / 1.05)[1]
    assert abs(mean_energy_score(energies, wrong, 1.0)) > 6


@pytest.mark.parametrize("uniform", [-0.1, 1.0, math.nan])
def test_bad_quantiles_are_refused(uniform):
    with pytest.raises(BadInput, match="uniform"):
        quantile(np.zeros(3), 1.0, uniform)


def test_bad_rows_are_refused():
    with pytest.raises(NotANumber, match="row 1"):
        quantile(np.array([[0.0, 1.0], [0.0, math.nan]]), 1.0, np.zeros(2))
    with pytest.raises(BadInput, match="row 0"):
        quantile(np.full((1, 3), np.inf), 1.0, np.zeros(1))
