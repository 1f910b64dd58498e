"""Chains whose memory is known: AR(1) has tau = (1 + rho) / (1 - rho), two states that flip have theirs."""

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from heatbath.errors import BadInput, Unreliable
from heatbath.estimate.mcmc_diagnostics import (
    autocorrelation,
    autocorrelation_time,
    effective_steps,
    estimate_mean,
    mixing_diagnostics,
    r_hat,
    summarize_acceptance,
)

METHODS = ["geyer", "sokal"]


def ar1(seed: int, rho: float, chains: int = 4, steps: int = 4000) -> np.ndarray:
    """Stationary chains with mean 0, variance 1 and correlation rho^t."""
    rng = np.random.default_rng(seed)
    x = np.empty((chains, steps))
    x[:, 0] = rng.normal(size=chains)
    noise = np.sqrt(1 - rho**2) * rng.normal(size=(chains, steps))
    for t in range(1, steps):
        x[:, t] = rho * x[:, t - 1] + noise[:, t]
    return x


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.5, 0.9])
def test_memory_of_an_autoregressive_chain(rho, method):
    """Over ten seeds tau is known to sqrt(2 (2 window + 1) tau / 160000), at most 4 % at rho = 0.9; three of these."""
    exact = (1 + rho) / (1 - rho)
    found = [autocorrelation_time(ar1(seed, rho), method=method) for seed in range(10)]
    assert np.mean(found) == pytest.approx(exact, rel=0.12)
    assert effective_steps(ar1(0, rho), method=method) == pytest.approx(16000 / exact, rel=0.3)


def test_correlations_are_those_of_the_chain():
    rho = autocorrelation(ar1(1, 0.8, chains=8, steps=20_000))
    assert rho[0] == pytest.approx(1, abs=1e-4)
    assert np.allclose(rho[:6], 0.8 ** np.arange(6), atol=0.03)


def test_correlations_by_transform_are_the_sums():
    x = ar1(2, 0.5, chains=1, steps=50)
    d = x[0] - x.mean()
    direct = np.array([d[: 50 - t] @ d[t:] for t in range(50)]) / (d @ d)
    assert np.allclose(autocorrelation(x), 1 - (1 - direct) * 50 / 49, atol=1e-12)


def mean_z(stderr, runs: int = 300) -> np.ndarray:
    return np.array([(x := ar1(seed, 0.8, 2, 800)).mean() / stderr(x) for seed in range(runs)])


@pytest.mark.parametrize("method", METHODS)
def test_the_error_of_a_mean_covers_as_stated(method):
    """300 runs: the spread of z is known to 4 %, tau to 10 %; the naive error is three times too small."""
    z = mean_z(lambda x: estimate_mean(x, method=method).stderr)
    assert abs(z.mean()) < 4 / np.sqrt(300)
    assert z.std() == pytest.approx(1, abs=0.2)


def test_the_naive_error_of_a_mean_does_not():
    """The negative control."""
    assert mean_z(lambda x: x.std() / np.sqrt(x.size)).std() > 2


@pytest.mark.parametrize("ranked", [True, False])
def test_mixed_chains_have_r_hat_one(ranked):
    assert abs(r_hat(ar1(0, 0.5), use_ranks=ranked) - 1) < 0.01


@pytest.mark.parametrize("ranked", [True, False])
def test_unequal_means_and_drifts_are_told_apart(ranked):
    x = ar1(0, 0.5)
    assert r_hat(x + np.array([0.0, 0.0, 0.0, 1.0])[:, None], use_ranks=ranked) > 1.1
    assert r_hat(x[:1] + np.linspace(0, 2, 4000), use_ranks=ranked) > 1.1


def test_only_ranks_see_unequal_spreads_and_shifts_under_heavy_tails():
    x = ar1(3, 0.0)
    assert r_hat(x * np.array([1.0, 1.0, 1.0, 3.0])[:, None]) > 1.05
    assert r_hat(x * np.array([1.0, 1.0, 1.0, 3.0])[:, None], use_ranks=False) < 1.01
    cauchy = np.random.default_rng(0).standard_cauchy((4, 1000)) + np.array([0.0, 0.0, 0.0, 2.0])[:, None]
    assert r_hat(cauchy) > 1.05 > r_hat(cauchy, use_ranks=False)


def test_r_hat_is_the_formula():
    x = ar1(4, 0.3, chains=3, steps=10)
    halves = np.concatenate([x[:, :5], x[:, 5:]])
    within, between = halves.var(1, ddof=1).mean(), 5 * halves.mean(1).var(ddof=1)
    assert r_hat(x, use_ranks=False) == pytest.approx(np.sqrt((0.8 * within + between / 5) / within))


def test_ranked_r_hat_is_the_larger_of_two_by_scipy():
    """With ties, in numbers rounded to one place; shifted and stretched, so that either of the two is the larger."""
    for shift, stretch in ((1.0, 1.0), (0.0, 3.0)):
        x = np.round(ar1(7, 0.3, chains=2, steps=40) * np.array([[1.0], [stretch]]) + np.array([[0.0], [shift]]), 1)
        halves = np.concatenate([x[:, :20], x[:, 20:]])
        by_hand = []
        for values in (halves, np.abs(halves - np.median(halves))):
            scores = norm.ppf((rankdata(values).reshape(values.shape) - 3 / 8) / (values.size + 1 / 4))
            within, between = scores.var(1, ddof=1).mean(), scores.mean(1).var(ddof=1)
            by_hand.append(np.sqrt((19 / 20 * within + between) / within))
        assert r_hat(x) == pytest.approx(max(by_hand), abs=1e-12)


def test_geyers_pairs_are_positive_and_fall():
    """The sum as published, on short chains of which some have pairs that rise by noise."""
    rises = 0
    for seed in range(8):
        x = ar1(seed, 0.7, chains=3, steps=100)
        rho, total, last = autocorrelation(x), -1.0, np.inf
        for even, odd in zip(rho[::2], rho[1::2], strict=True):
            if even + odd < 0:
                break
            rises += even + odd > last
            last = min(last, even + odd)
            total += 2 * last
        assert autocorrelation_time(x) == pytest.approx(total, abs=1e-12)
    assert rises > 0


def test_sokals_window_is_the_first_that_is_wide_enough():
    x = ar1(9, 0.7, chains=3, steps=300)
    rho = autocorrelation(x)
    widths = [m for m in range(300) if m >= 5 * (2 * rho[: m + 1].sum() - 1)]
    assert autocorrelation_time(x, method="sokal") == pytest.approx(2 * rho[: widths[0] + 1].sum() - 1, abs=1e-12)


def test_ranks_do_not_change_under_a_rising_map():
    x = ar1(5, 0.4, steps=200)
    by_hand = r_hat(x)
    # The fold is around the median, so that only an odd map leaves it as it is.
    assert r_hat(x - np.median(x)) == pytest.approx(by_hand)
    shifted = x - np.median(x)
    assert r_hat(shifted**3) == pytest.approx(by_hand)


def test_chains_that_stand_still_are_one_draw_each():
    still = np.tile(np.array([[0.1], [0.1]]), (1, 100))
    assert np.isnan(r_hat(still)) and np.isnan(autocorrelation(still)).all()
    assert estimate_mean(still).ess == pytest.approx(2) and np.isnan(estimate_mean(still).stderr)
    apart = np.tile(np.array([[0.1], [0.3]]), (1, 100))
    assert r_hat(apart) == np.inf
    assert estimate_mean(apart, max_r_hat=np.inf).ess < 4
    with pytest.raises(Unreliable, match=r"have not mixed, r_hat is inf") as caught:
        estimate_mean(apart)
    assert caught.value.estimate == estimate_mean(apart, max_r_hat=np.inf)


def test_stuck_chains_are_worth_few_draws():
    """Chains that differ for good have a memory as long as themselves."""
    x = ar1(6, 0.0, steps=1000) + np.array([-5.0, 5.0, -5.0, 5.0])[:, None]
    assert effective_steps(x) < 10


def test_acceptance_counts_by_chain_and_the_longest_wait():
    accepted = np.array([[1, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1]], dtype=bool)
    found = summarize_acceptance(accepted)
    assert found.rate.value == pytest.approx(6 / 12)
    assert (found.min_rate, found.max_rate, found.longest_rejection_run) == (
        pytest.approx(2 / 6),
        pytest.approx(4 / 6),
        3,
    )
    never = summarize_acceptance(np.zeros((2, 5)))
    assert never.longest_rejection_run == 5 and never.rate.ess == pytest.approx(2)
    assert summarize_acceptance(np.ones((2, 5))).longest_rejection_run == 0


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: r_hat(np.zeros(9)), "must have shape .*, got \\(9,\\)"),
        (lambda: estimate_mean(np.zeros((2, 3))), "4 steps or more"),
        (lambda: estimate_mean(np.array([[0.0, 1, np.nan, 2]])), "step 2 of chain 0 is nan"),
        (lambda: autocorrelation_time(np.zeros((1, 8)), method="lucky"), "unknown autocorrelation method 'lucky'"),
    ],
)
def test_what_is_no_chain(call, match):
    with pytest.raises(BadInput, match=match):
        call()


def test_mixing_is_both_figures_and_says_nothing_of_short_chains():
    x = np.random.default_rng(0).normal(size=(4, 50))
    assert mixing_diagnostics(x) == (r_hat(x), effective_steps(x))
    assert np.isnan(mixing_diagnostics(x[:, :3])).all()
