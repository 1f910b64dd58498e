"""Weights of pooled sequences: exact identities by enumeration, standard errors by repetition, and MBAR beside them."""

import warnings

import numpy as np
import pytest

from heatbath.estimate.reweighting import (
    balance_weights,
    effective_size,
    temperature_response,
    weighted_covariance,
    weighted_mean,
)
from heatbath.models import TableModel

MODEL = TableModel.random(3, 3, 4, scale=1.5)
LADDER = np.array([0.6, 0.9, 1.4, 2.2])
COUNTS = np.array([40.0, 120.0, 80.0, 160.0])
SPREAD = np.random.default_rng(8).normal(size=81)


def log_laws(temperatures) -> np.ndarray:
    """(81, k): every sequence under every temperature."""
    return np.stack([MODEL.logprobs(1 / t) for t in np.atleast_1d(temperatures)], axis=1)


def drawn(seed: int) -> np.ndarray:
    """Numbers of the sequences that each temperature of the ladder drew, (400,)."""
    rng, laws = np.random.default_rng(seed), np.exp(log_laws(LADDER))
    return np.concatenate([rng.choice(81, int(m), p=law) for m, law in zip(COUNTS, laws.T, strict=True)])


def z_scores(target: float, weighed_at: float, observable=SPREAD, runs: int = 400) -> np.ndarray:
    """Estimate less exact mean at `target`, in standard errors, over `runs` independent pools."""
    exact = np.exp(MODEL.logprobs(1 / target)) @ observable
    laws, log_target = log_laws(LADDER), MODEL.logprobs(1 / weighed_at)
    scores = []
    for seed in range(runs):
        rows = drawn(seed)
        estimate = weighted_mean(balance_weights(laws[rows], COUNTS, log_target[rows]), observable[rows])
        scores.append((estimate.value - exact) / estimate.stderr)
    return np.array(scores)


@pytest.mark.parametrize("target", [0.5, 0.9, 1.1, 3.0])
def test_weights_average_to_one_and_reproduce_any_mean_exactly(target):
    laws = log_laws(LADDER)
    mixture = np.exp(laws) @ COUNTS / COUNTS.sum()
    weights = balance_weights(laws, COUNTS, MODEL.logprobs(1 / target))
    assert mixture @ weights == pytest.approx(1, abs=1e-12)
    assert (mixture * weights) @ SPREAD == pytest.approx(np.exp(MODEL.logprobs(1 / target)) @ SPREAD, abs=1e-12)


def test_several_targets_at_once_are_the_targets_one_by_one():
    laws, targets = log_laws(LADDER), log_laws([0.7, 1.7])
    both = balance_weights(laws, COUNTS, targets)
    assert np.array_equal(both, np.stack([balance_weights(laws, COUNTS, t) for t in targets.T], axis=1))


def test_a_pool_from_the_target_alone_weighs_all_alike():
    law = MODEL.logprobs(1.0)
    assert np.allclose(balance_weights(law[:, None], np.array([7.0]), law), 1, atol=1e-14)


@pytest.mark.parametrize("target", [0.6, 1.1, 2.0])
def test_means_lie_within_their_standard_errors(target):
    """95 % of 400 pools within 1.96 standard errors: outside 91.5 to 98 % with probability 2e-3 (binomial)."""
    z = z_scores(target, target)
    assert 0.915 < (np.abs(z) < 1.96).mean() < 0.98
    assert abs(z.mean()) < 4 / np.sqrt(len(z))


def test_means_weighed_at_a_temperature_a_quarter_off_do_not():
    assert abs(z_scores(1.1, 1.4).mean()) > 4 / np.sqrt(400)


def test_pymbar_finds_no_free_energies_and_the_same_means():
    """Free energies within four standard errors of zero: a false alarm in 2e-4 of seeds. Means agree within one."""
    mbar_of = pytest.importorskip("pymbar").MBAR
    rows, targets = drawn(0), np.array([0.75, 1.1])
    laws, log_target = log_laws(LADDER)[rows], log_laws(targets)[rows]
    states = -np.concatenate([laws, log_target], axis=1).T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mbar = mbar_of(states, np.append(COUNTS, [0, 0]).astype(int))
        free = mbar.compute_free_energy_differences()
        theirs = mbar.compute_expectations(SPREAD[rows])
    difference, error = free["Delta_f"][0, 1:], free["dDelta_f"][0, 1:]
    assert (np.abs(difference) < 4 * error).all() and (error < 0.2).all()
    for g in range(2):
        ours = weighted_mean(balance_weights(laws, COUNTS, log_target[:, g]), SPREAD[rows])
        assert abs(ours.value - theirs["mu"][4 + g]) < ours.stderr
        assert ours.stderr == pytest.approx(theirs["sigma"][4 + g], rel=0.25)


def test_effective_size_counts_equal_weights_and_a_single_one():
    weights = np.stack([np.full(50, 3.0), np.eye(50)[7], np.r_[np.ones(25), np.zeros(25)]], axis=1)
    assert effective_size(weights).tolist() == pytest.approx([50, 1, 25])
    assert effective_size(np.zeros(5)) == 0


def test_effective_size_falls_like_a_gaussian_in_beta():
    r"""exp(-I dbeta^2) for Gaussian scores; with 1e5 of them the ratio is off by 2 % with probability below 1e-4."""
    score = np.random.default_rng(0).normal(0, 2.0, 100_000)
    for step in (0.1, 0.25):
        share = effective_size(np.exp(-step * score)) / len(score)
        assert share == pytest.approx(np.exp(-4.0 * step**2), rel=0.02)


def test_a_covariance_under_equal_weights_is_the_unbiased_one():
    a, b = np.random.default_rng(1).normal(size=(2, 40))
    estimate = weighted_covariance(np.full(40, 0.3), a, b)
    assert estimate.value == pytest.approx(np.cov(a, b)[0, 1], rel=1e-12)
    assert estimate.ess == pytest.approx(40)


def score_of(model: TableModel, temperature: float) -> np.ndarray:
    """Q of every sequence, from the derivative of its exact log-law."""
    beta, step = 1 / temperature, 1e-5
    return -(model.logprobs(beta + step) - model.logprobs(beta - step)) / (2 * step)


def slope_of(model: TableModel, observable: np.ndarray, temperature: float) -> float:
    """The exact derivative of a mean by T."""
    up, down = (np.exp(model.logprobs(1 / (temperature + h))) @ observable for h in (1e-4, -1e-4))
    return float((up - down) / 2e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_response_of_all_sequences_is_the_derivative(temperature):
    law = np.exp(MODEL.logprobs(1 / temperature))
    estimate = temperature_response(law, SPREAD, score_of(MODEL, temperature), temperature)
    # The correction for a finite sample has no place in a sum over all sequences.
    assert estimate.value * (1 - 1 / estimate.ess) == pytest.approx(slope_of(MODEL, SPREAD, temperature), abs=1e-6)


def response_z(temperature: float, factor: float = 1.0, runs: int = 400) -> np.ndarray:
    """Response, times a factor, less the exact derivative, in standard errors, from 400 sequences each."""
    law, score = np.exp(MODEL.logprobs(1 / temperature)), score_of(MODEL, temperature)
    exact, scores = slope_of(MODEL, SPREAD, temperature), []
    for seed in range(runs):
        rows = np.random.default_rng(seed).choice(81, 400, p=law)
        estimate = temperature_response(np.ones(400), SPREAD[rows], score[rows], temperature)
        scores.append((factor * estimate.value - exact) / estimate.stderr)
    return np.array(scores)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
def test_responses_lie_within_their_standard_errors(temperature):
    """95 % of 400 within 1.96 standard errors: outside 91 to 98.5 % with probability below 1e-3 (binomial)."""
    z = response_z(temperature)
    assert 0.91 < (np.abs(z) < 1.96).mean() < 0.985
    assert abs(z.mean()) < 4 / np.sqrt(len(z))


@pytest.mark.parametrize("factor", [-1.0, 4.0])
def test_a_wrong_sign_and_a_dropped_temperature_are_seen(factor):
    """At T = 2 leaving out 1 / T^2 multiplies by four."""
    assert abs(response_z(2.0, factor, runs=50).mean()) > 4 / np.sqrt(50)


def test_a_pooled_response_lies_within_its_standard_error():
    """400 pools weighed to T = 1.1, as above."""
    exact, score, laws = slope_of(MODEL, SPREAD, 1.1), score_of(MODEL, 1.1), log_laws(LADDER)
    z = []
    for seed in range(400):
        rows = drawn(seed)
        weights = balance_weights(laws[rows], COUNTS, MODEL.logprobs(1 / 1.1)[rows])
        estimate = temperature_response(weights, SPREAD[rows], score[rows], 1.1)
        z.append((estimate.value - exact) / estimate.stderr)
    assert 0.91 < (np.abs(z) < 1.96).mean() < 0.985
    assert abs(np.mean(z)) < 4 / np.sqrt(len(z))
