"""log Z between the nodes, and whether its error bound is one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ensembles import normal
from hypothesis import example, given
from hypothesis import strategies as st

from heatbath.ensemble import NODE_BETAS, LogZ, curve, nodes
from heatbath.errors import BadInput

BETAS = 1.0 / np.geomspace(0.1, 3.0, 30)
V = 49_152


def ensembles() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "normal": normal(0, (2, V), 3.0),
        "wide": normal(1, (2, V), 6.0),
        "gumbel": -rng.gumbel(0, 1.5, (2, V)),
        "heavy tail": rng.standard_t(3, (2, V)),
        "ladder": 0.5 * np.arange(V)[None],
        "nearly degenerate": normal(2, (2, V), 1e-3),
    }


@pytest.mark.parametrize("name", ensembles())
def test_between_nodes(name):
    energies = ensembles()[name].astype(np.float32)
    kept, truth = nodes(energies), curve(energies, BETAS)
    for k, beta in enumerate(BETAS):
        error = np.abs(kept.log_z(beta) - truth.log_z[k])
        assert (error <= 1e-4).all()
        assert (error <= kept.error_bound(beta) + 2e-6).all()
        np.testing.assert_allclose(kept.entropy(beta), truth.entropy[k], atol=1e-3)
        np.testing.assert_allclose(kept.mean_energy(beta), truth.mean_energy[k], atol=1e-3)
        np.testing.assert_allclose(kept.heat_capacity(beta), truth.heat_capacity[k], atol=1e-2)
        np.testing.assert_allclose(kept.variance(beta) * beta**2, kept.heat_capacity(beta))


def two_levels(degeneracy: float) -> tuple[LogZ, np.ndarray, np.ndarray]:
    """Interpolant and truth for gaps that put the transition anywhere in the range."""
    gaps = math.log(max(degeneracy, 3.0)) * np.geomspace(0.05, 4.0, 100)[:, None]

    def exact(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        w = degeneracy * np.exp(-beta * gaps)
        p = w / (1.0 + w)
        return np.log1p(w), gaps * p, gaps**2 * p * (1 - p)

    return LogZ(NODE_BETAS, np.zeros(100), *exact(NODE_BETAS[None])), gaps, exact(BETAS[None])[0]


@pytest.mark.parametrize("degeneracy", [1, 3, 30, 1000, 49_151, 262_143])
def test_bound_holds_even_where_two_levels_defeat_the_nodes(degeneracy):
    kept, _, truth = two_levels(degeneracy)
    errors = np.stack([np.abs(kept.log_z(beta) - truth[:, k]) for k, beta in enumerate(BETAS)])
    limits = np.stack([kept.error_bound(beta) for beta in BETAS])
    assert (errors <= 1.001 * limits + 1e-9).all()
    if degeneracy > 1000:
        assert errors.max() > 1e-3, "these are the ensembles that the bound is for"


groups = st.lists(st.tuples(st.floats(0.01, 60.0), st.floats(0.0, 12.5)), min_size=1, max_size=4)


def grouped(levels: list[tuple[float, float]], betas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log Z, U and Var E (1, K) of one ground state and groups of states, each an energy and the log of a number."""
    energies, logs = (np.asarray([0.0, *part]) for part in zip(*levels, strict=True))
    exponents = logs[:, None] - energies[:, None] * betas
    log_z = np.logaddexp.reduce(exponents, axis=0)
    p = np.exp(exponents - log_z)
    mean = (p * energies[:, None]).sum(0)
    return log_z[None], mean[None], (p * (energies[:, None] - mean) ** 2).sum(0)[None]


@given(groups, st.floats(0.1, 3.0))
@example([(2.5, math.log(49_151))], 0.25)
def test_the_bound_holds_for_groups_of_energies(levels: list[tuple[float, float]], temperature: float) -> None:
    """Among them two levels, which the nodes cannot follow; U and S lie between their values at the nodes."""
    beta = 1 / temperature
    kept = LogZ(NODE_BETAS, np.zeros(1), *grouped(levels, NODE_BETAS))
    log_z, mean, _ = (float(values[0, 0]) for values in grouped(levels, np.array([beta])))
    assert abs(kept.log_z(beta)[0] - log_z) <= 1.0001 * kept.error_bound(beta)[0] + 1e-9
    right = int(np.clip(np.searchsorted(NODE_BETAS, beta), 1, len(NODE_BETAS) - 1))
    entropies, means = kept.log_z_k[0] + NODE_BETAS * kept.mean_energy_k[0], kept.mean_energy_k[0]
    for found, truth, nodes_of in (
        (kept.entropy(beta), log_z + beta * mean, entropies),
        (kept.mean_energy(beta), mean, means),
    ):
        for value in (float(found[0]), truth):
            assert nodes_of[right] - 1e-9 <= value <= nodes_of[right - 1] + 1e-9


def test_the_heat_capacity_between_nodes_has_no_bound() -> None:
    """One state and 49,151 states 2.5 nats above: log Z is off by 4e-3, within its bound, and C by nearly 1."""
    levels = [(2.5, math.log(49_151))]
    kept, betas = LogZ(NODE_BETAS, np.zeros(1), *grouped(levels, NODE_BETAS)), 1 / np.geomspace(0.1, 3, 60)
    log_z, _, variance = grouped(levels, betas)
    errors = [abs(kept.log_z(b)[0] - log_z[0, k]) for k, b in enumerate(betas)]
    misses = [abs(kept.heat_capacity(b)[0] - b * b * variance[0, k]) for k, b in enumerate(betas)]
    assert 1e-3 < max(errors) < 1e-2 and max(misses) > 0.5
    assert all(error <= 1.001 * kept.error_bound(b)[0] + 1e-9 for error, b in zip(errors, betas, strict=True))


def test_nodes_are_exact_there_and_the_gauge_is_that_of_the_energies():
    energies = normal(3, (2, 3, 500)) + 1000.0
    kept = nodes(energies)
    truth = curve(energies, NODE_BETAS)
    for k, beta in enumerate(NODE_BETAS):
        np.testing.assert_allclose(kept.log_z(beta), truth.log_z[k], rtol=1e-12)
        np.testing.assert_allclose(kept.entropy(beta), truth.entropy[k], atol=1e-9)
        assert (kept.error_bound(beta) == 0.0).all()


def test_a_beta_for_each_ensemble():
    kept = nodes(normal(4, (5, 300)))
    betas = np.linspace(0.4, 9.0, 5)
    each = kept.log_z(betas)
    for row, beta in enumerate(betas):
        assert each[row] == pytest.approx(kept.log_z(beta)[row], abs=1e-12)
    assert nodes(normal(4, (300,))).log_z(1.0).shape == ()


@pytest.mark.parametrize("shape", [(300,), (5, 300), (2, 3, 300)])
def test_many_betas_at_once_are_those_of_one_by_one(shape: tuple[int, ...]) -> None:
    kept = nodes(normal(6, shape) + 50.0)
    betas = np.concatenate([NODE_BETAS, 1 / np.linspace(0.1, 3.0, 17)])
    together = kept.moments_at(betas)
    for g, beta in enumerate(betas):
        for one, many in zip(kept.moments(beta), together, strict=True):
            np.testing.assert_allclose(many[g], one, rtol=1e-11, atol=1e-10)
    with pytest.raises(BadInput, match="`beta` must be in"):
        kept.moments_at(np.array([1.0, 11.0]))


@pytest.mark.parametrize("beta", [0.3, 11.0, math.nan, 0.0])
def test_outside_the_nodes_is_refused(beta):
    with pytest.raises(BadInput, match=r"`beta` must be in \[.*got"):
        nodes(normal(5, (2, 50))).log_z(beta)


def test_temperatures_at_the_ends_are_inside():
    kept = nodes(normal(5, (2, 50)))
    assert np.isfinite(kept.log_z(1 / 3.0)).all() and np.isfinite(kept.log_z(1 / 0.1)).all()
