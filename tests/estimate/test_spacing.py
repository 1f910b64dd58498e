"""Ladders against systems whose length and exchange rates are known: two levels, many of them, a Gaussian density."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from heatbath.errors import BadInput
from heatbath.estimate.ladder_spacing import (
    build_ladder,
    count_rungs,
    exchange_rate,
    exchange_rates,
    thermodynamic_length,
)

FINE = np.linspace(0.0, 6.0, 4001)


def two_level_variance(beta, copies: int = 1):
    """Energies 0 and 1, `copies` of them."""
    return copies / (4 * np.cosh(np.asarray(beta) / 2) ** 2)


def two_level_length(beta, copies: int = 1):
    return np.sqrt(copies) * 2 * np.arctan(np.tanh(np.asarray(beta) / 4))


def exact_rate(first: float, second: float, copies: int) -> float:
    """Mean of min(1, exp((b2 - b1)(E2 - E1))) over two binomials, summed."""
    E = np.arange(copies + 1)
    laws = [binom.pmf(E, copies, 1 / (1 + np.exp(b))) for b in (first, second)]
    accept = np.exp(np.minimum((second - first) * (E[None, :] - E[:, None]), 0))
    return float(laws[0] @ accept @ laws[1])


def test_the_length_of_two_levels_is_the_gudermannian():
    found = thermodynamic_length(FINE, two_level_variance(FINE))
    assert np.allclose(found, two_level_length(FINE), atol=1e-6)


@pytest.mark.parametrize("rungs", [2, 3, 9])
def test_rungs_are_equally_far_apart(rungs):
    found = build_ladder(FINE, two_level_variance(FINE), rungs=rungs)
    assert len(found) == rungs and found[0] == 0 and found[-1] == 6
    assert np.allclose(np.diff(two_level_length(found)), two_level_length(6.0) / (rungs - 1), atol=1e-6)


@given(st.lists(st.floats(0, 9), min_size=2, max_size=7), st.integers(2, 12))
def test_lengths_on_a_coarse_grid_are_inverted_exactly(sigma, rungs):
    """The standard deviation is a line between grid points; measured with the rungs put in, all steps are equal."""
    betas, sigma = np.cumsum(np.ones(len(sigma))) / 3, np.array(sigma)
    if sigma.sum() < 1e-3:
        return
    found = build_ladder(betas, sigma**2, rungs=rungs)
    union = np.unique(np.concatenate([betas, found]))
    length = thermodynamic_length(union, np.interp(union, betas, sigma) ** 2)
    steps = np.diff(length[np.searchsorted(union, found)])
    assert np.allclose(steps, length[-1] / (rungs - 1), atol=1e-8 * (1 + length[-1]))


def test_a_gaussian_density_wants_equal_steps_in_beta():
    assert np.allclose(build_ladder([0.5, 2.5], [3.0, 3.0], rungs=5), np.linspace(0.5, 2.5, 5), atol=1e-14)


def test_a_gaussian_density_exchanges_exactly_as_stated():
    """E normal with variance 4 and mean -4 beta, at each beta: the double integral of min(1, e^D)."""
    sigma, first, second = 2.0, 0.7, 1.5
    nodes, w = np.polynomial.hermite_e.hermegauss(80)
    w = w / w.sum()
    # D is normal, with minus half its variance for a mean; both halves of its law are integrated on a fine grid.
    spread = np.sqrt(2) * sigma * (second - first)
    x = np.linspace(-12, 12, 200_001)
    p = np.exp(-(x**2) / 2)
    direct = p @ np.exp(np.minimum(spread * x - spread**2 / 2, 0)) / p.sum()
    assert exchange_rates([first, second], [sigma**2, sigma**2])[0] == pytest.approx(direct, abs=1e-6)
    # That D is so: its mean and variance from the two laws.
    E1, E2 = -(sigma**2) * first + sigma * nodes, -(sigma**2) * second + sigma * nodes
    D = (second - first) * (E2[None, :] - E1[:, None])
    mean = w @ D @ w
    assert mean == pytest.approx(-(spread**2) / 2)
    assert w @ D**2 @ w - mean**2 == pytest.approx(spread**2)


def test_many_two_level_systems_exchange_as_gaussians_do():
    """A thousand of them: every rate within 3 % of erfc; equal steps in T spread them threefold."""
    copies, grid = 1000, np.linspace(0.2, 2.0, 400)
    variances = two_level_variance(grid, copies)
    betas = build_ladder(grid, variances, rungs=count_rungs(grid, variances, rate=0.3))
    exact = np.array([exact_rate(a, b, copies) for a, b in pairwise(betas)])
    predicted = exchange_rate(np.diff(two_level_length(betas, copies)))
    assert np.allclose(exact, predicted, rtol=0.03)
    assert exact.min() > 0.29 and np.ptp(exact) < 0.02
    in_temperature = 1 / np.linspace(1 / 0.2, 1 / 2.0, len(betas))
    control = [exact_rate(a, b, copies) for a, b in pairwise(in_temperature)]
    assert max(control) > 3 * min(control)


def test_a_few_two_level_systems_are_not_gaussian():
    """The limit of the formula: at one system it is off by far."""
    assert exact_rate(0.0, 4.0, 1) > exchange_rate(two_level_length(4.0)) + 0.1


@pytest.mark.parametrize("rate", [0.05, 0.23, 0.8])
def test_as_many_rungs_as_a_rate_needs_and_no_more(rate):
    grid = np.linspace(0, 3, 50)
    variances = two_level_variance(grid, 300)
    length = thermodynamic_length(grid, variances)[-1]
    n = count_rungs(grid, variances, rate=rate)
    assert exchange_rate(length / (n - 1)) >= rate > exchange_rate(length / (n - 2))


def test_rates_at_the_ends():
    assert exchange_rate(0.0) == 1 and exchange_rate(60.0) == pytest.approx(0, abs=1e-300)
    assert exchange_rate(np.array([1.7])) == pytest.approx(0.23, abs=0.001)
    assert count_rungs([0.0, 1.0], [0.0, 0.0], rate=0.5) == 2


def test_a_stretch_without_variance_is_crossed_in_one_step():
    found = build_ladder([0.0, 1.0, 2.0, 3.0], [1.0, 0.0, 0.0, 1.0], rungs=5)
    assert found[[1, 3]] == pytest.approx([1 - np.sqrt(0.5), 2 + np.sqrt(0.5)])
    assert 1 <= found[2] <= 2


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: build_ladder([0.0, 1.0], [1.0, 1.0], rungs=1), "`rungs` must be at least 2, got 1"),
        (lambda: build_ladder([0.0, 1.0], [0.0, 0.0], rungs=3), "does not vary"),
        (lambda: build_ladder([1.0, 0.0], [1.0, 1.0], rungs=3), "betas must be finite and increasing"),
        (lambda: thermodynamic_length([0.0], [1.0]), "two or more"),
        (lambda: thermodynamic_length([0.0, 1.0], [1.0, -2.0]), "at least 0, got -2.0 at beta 1"),
        (lambda: count_rungs([0.0, 1.0], [1.0, 1.0], rate=1.0), "`rate` must be .*, got 1.0"),
    ],
)
def test_what_is_no_ladder(call, match):
    with pytest.raises(BadInput, match=match):
        call()
