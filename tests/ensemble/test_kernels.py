"""Kernels against the definition, in every format, shape and library."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ensembles import as_format, normal, widened

from heatbath.ensemble import nodes, observe, reference, state
from heatbath.errors import BadInput, NotANumber

FORMATS = ["float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("states", [1, 7, 1000, 9001])
def test_every_number_of_a_state(kind, states):
    energies = normal(states, (4, states))
    energies[1, states // 2 :] = np.inf if states > 1 else 0.0
    energies[2] = np.round(energies[2])
    given = as_format(energies, kind)
    exact = widened(given)
    for beta in (0.0, 0.2, 1.0, 8.0, math.inf):
        got = state(given, beta)
        for row in range(4):
            for name, truth in reference.thermodynamics(exact[row], beta).items():
                if not math.isnan(truth):
                    value = float(getattr(got, name)[row])
                    assert value == pytest.approx(truth, rel=1e-6, abs=1e-6), (name, beta, row)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_long_rows_keep_six_digits(kind):
    energies = as_format(normal(0, (2, 262_144)), kind)
    got = state(energies, 0.7)
    for row in range(2):
        for name, truth in reference.thermodynamics(widened(energies)[row], 0.7).items():
            assert float(getattr(got, name)[row]) == pytest.approx(truth, rel=1e-6), name


def test_a_narrow_band_high_above_the_ground_keeps_its_variance():
    energies = 10.0 + normal(1, (262_144,), 0.01)
    energies[0] = 0.0
    got = state(energies.astype(np.float32), 0.5)
    truth = reference.thermodynamics(energies.astype(np.float32).astype(float), 0.5)
    assert float(got.variance) == pytest.approx(truth["variance"], rel=1e-6)


@pytest.mark.parametrize("kind", FORMATS)
def test_chosen_states(kind):
    given = as_format(np.round(normal(3, (5, 6000)), 1), kind)
    exact = widened(given)
    index = np.arange(5) * 1000
    got = state(given, 0.8, index=index)
    for row, i in enumerate(index):
        assert float(got.energy[row]) == exact[row, i]
        assert int(got.rank[row]) == reference.rank(exact[row], i)
        truth = math.log(reference.probabilities(exact[row], 0.8)[i])
        assert float(got.logprob[row]) == pytest.approx(truth, abs=1e-6)


def test_an_absent_choice_has_no_probability():
    energies = np.array([0.0, np.inf, 1.0])
    for beta in (0.0, 1.0, math.inf):
        assert state(energies, beta, index=1).logprob == -math.inf
    assert state(energies, 0.0, index=0).logprob == pytest.approx(-math.log(2))
    assert state(energies, math.inf, index=0).logprob == 0.0


def test_shapes_libraries_and_a_beta_for_each_row():
    energies = normal(4, (2, 3, 50))
    betas = np.linspace(0.1, 2.0, 6).reshape(2, 3)
    here = state(energies, betas)
    assert here.log_z.shape == (2, 3)
    single = state(energies[1, 2], betas[1, 2])
    assert single.log_z.shape == () and single.log_z == here.log_z[1, 2]
    there = state(torch.from_numpy(energies), torch.from_numpy(betas))
    assert isinstance(there.log_z, torch.Tensor) and there.log_z.dtype == torch.float64
    np.testing.assert_array_equal(there.log_z.numpy(), here.log_z)
    turned = np.asfortranarray(energies.swapaxes(0, 1))
    np.testing.assert_array_equal(state(turned, betas.T).entropy, here.entropy.T)
    assert state(np.empty((0, 5)), 1.0).log_z.shape == (0,)


def test_zero_with_either_sign_is_one_energy():
    for kind in ("float16", "float32", "float64"):
        assert state(np.array([-0.0, 0.0, 1.0], kind), math.inf).entropy == pytest.approx(math.log(2))
    many = torch.zeros(9000, dtype=torch.bfloat16)
    many[::2] = -0.0
    assert float(state(many, math.inf).entropy) == pytest.approx(math.log(9000))


@pytest.mark.parametrize("kind", ["bfloat16", "float32"])
def test_observe_is_state_and_nodes(kind):
    energies = as_format(normal(5, (3, 6000)), kind)
    betas, index = np.array([0.0, 1.0, math.inf]), np.array([1, 2, 3])
    seen, kept = observe(energies, betas, index)
    alone = state(energies, betas, index=index)
    np.testing.assert_allclose(np.asarray(seen.entropy), np.asarray(alone.entropy), atol=1e-12)
    np.testing.assert_allclose(np.asarray(seen.logprob), np.asarray(alone.logprob), atol=1e-12)
    np.testing.assert_allclose(kept.log_z_k, nodes(energies).log_z_k, atol=1e-12)


@pytest.mark.parametrize("kind", FORMATS)
def test_bad_rows_are_named(kind):
    energies = normal(6, (2, 3, 10))
    for bad, error, words in (
        (np.nan, NotANumber, "NaN"),
        (-np.inf, BadInput, "-inf"),
    ):
        broken = energies.copy()
        broken[1, 2, 4] = bad
        with pytest.raises(error, match=rf"row \(1, 2\) hold.*{words}"):
            state(as_format(broken, kind), 1.0)
    broken = energies[0].copy()
    broken[1] = np.inf
    with pytest.raises(BadInput, match="row 1 are all"):
        nodes(as_format(broken, kind))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((2, 0)), 1.0), "at least one state"),
        ((np.zeros(3, np.int64), 1.0), "int64"),
        ((np.zeros((2, 3)), -0.5), "-0.5"),
        ((np.zeros((2, 3)), math.nan), "nan"),
        ((np.zeros((2, 3)), np.ones(3)), r"\(3,\)"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(arguments, words):
    with pytest.raises(BadInput, match=words):
        state(*arguments)


def test_an_index_out_of_range_is_refused():
    with pytest.raises(BadInput, match="`index` must be from 0 to 2, got 3 for row 1"):
        state(np.zeros((2, 3)), 1.0, index=np.array([0, 3]))


def test_extreme_numbers_do_not_overflow():
    wide = np.array([-3e38, 3e38, -3e38], np.float32)
    assert float(state(wide, 1.0).entropy) == pytest.approx(math.log(2))
    assert float(state(wide, 1e-38).heat_capacity) > 0.0
    for beta in (1e-300, 1e300):
        got = state(np.array([0.0, 1.0, 0.0], np.float32), beta)
        assert float(got.entropy) == pytest.approx(math.log(3 if beta < 1 else 2))
