"""The sampler suite fails broken samplers, one sabotage per check."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from heatbath.decode import Ancestral, TokenSampler
from heatbath.ensemble import quantile
from heatbath.models import TableModel
from heatbath.testing import check_sampler
from heatbath.testing.token_sampler import _compute_temperature_score, check_frequencies

TREE = TableModel.random(4, 3, 4, stop_token_ids=(2,))


def test_a_right_sampler_passes():
    check_sampler(Ancestral())


@dataclass(frozen=True)
class Skewed(TokenSampler):
    """Raises the uniform numbers to a power, and claims the model's own probabilities."""

    power: float = 1.0

    @property
    def inner(self):
        return Ancestral()

    def init(self, task):
        return self.inner.init(task)

    def step(self, rng, batch, energies):
        return self.inner.step(_Bent(rng, self.power), batch, energies)


@dataclass(frozen=True)
class _Bent:
    rng: object
    power: float

    def uniform(self):
        return self.rng.uniform() ** self.power

    def draw_tokens(self, energies, betas):
        return quantile(energies, betas, self.uniform())


def test_skewed_numbers_fail():
    check_sampler(Skewed(1.0), TREE, samples=5000)
    with pytest.raises(AssertionError, match="standard errors off|frequencies have p"):
        check_sampler(Skewed(1.1), TREE, samples=5000)


class Boasting(Skewed):
    """Draws rightly at T = 0.9 and claims to have drawn at T = 1."""

    @property
    def inner(self):
        return Ancestral(0.9)

    def step(self, rng, batch, energies):
        batch, step = self.inner.step(rng, batch, energies)
        return batch, replace(step, pipeline_result=replace(step.pipeline_result, betas=np.ones_like(step.betas)))


def test_claims_that_do_not_fit_the_draws_fail():
    with pytest.raises(AssertionError, match="standard errors off"):
        check_sampler(Boasting(), TREE, samples=5000)
    with pytest.raises(AssertionError, match="claimed log-probabilities are off"):
        check_sampler(Ancestral(0.9), TREE, samples=100)


def test_impossible_sequences_fail():
    with pytest.raises(AssertionError, match="probability 0"):
        check_frequencies(np.array([5, 1]), np.array([1.0, 0.0]), 1e-5)


def test_swapped_sequences_of_equal_energy_fail_by_frequency():
    with pytest.raises(AssertionError, match="frequencies have p"):
        check_frequencies(np.array([600, 400]), np.array([0.5, 0.5]), 1e-5)
    check_frequencies(np.array([520, 480]), np.array([0.5, 0.5]), 1e-5)


def test_the_score_is_the_derivative_of_log_probability():
    slope = (TREE.logprobs(1 + 1e-5) - TREE.logprobs(1 - 1e-5)) / 2e-5
    assert np.allclose(_compute_temperature_score(TREE.sequences(), TREE.logprobs()), -slope, atol=1e-8)
