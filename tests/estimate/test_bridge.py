"""Ratios of partition functions: exact cases, pymbar beside them, and errors that cover as often as they say."""

import warnings

import numpy as np
import pytest
from scipy.special import logsumexp

from heatbath.errors import BadInput, Unreliable
from heatbath.estimate.bridge import bar, combine_replicates, log_mean

SHIFT, SCALE = 1.2, 0.7
# log p~ - log q~ for q = N(0, 1) and p = N(SHIFT, SCALE), both without their constants.
EXACT = np.log(SCALE)


def log_weight(x) -> np.ndarray:
    return -0.5 * ((x - SHIFT) / SCALE) ** 2 + 0.5 * x**2


def samples(seed: int, n: int = 400, m: int = 700) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return log_weight(rng.normal(size=n)), log_weight(rng.normal(SHIFT, SCALE, m))


def z_scores(estimate, runs: int = 400) -> np.ndarray:
    return np.array([((e := estimate(*samples(seed))).value - EXACT) / e.stderr for seed in range(runs)])


def test_the_errors_of_both_cover_as_stated():
    """400 runs: the mean of z is known to 0.05 and its spread to 0.035; four of these, plus the bias of Jensen."""
    for estimate in (bar, lambda forward, _: log_mean(forward)):
        z = z_scores(estimate)
        assert abs(z.mean()) < 0.25
        assert z.std() == pytest.approx(1, abs=0.15)


def test_a_bennett_ratio_of_the_wrong_samples_is_seen():
    """The negative controls: samples of q given as samples of p, and weights of which the sign is turned."""
    assert abs(z_scores(lambda f, r: bar(f, log_weight(np.random.default_rng(3).normal(size=700)))).mean()) > 3
    assert abs(z_scores(lambda f, r: bar(r, f)).mean()) > 3


def test_the_root_solves_bennetts_equation_for_unequal_sizes():
    forward, reverse = samples(1, 37, 911)
    found = bar(forward, reverse).value
    work, back, m = -forward, reverse, np.log(37 / 911)
    assert (1 / (1 + np.exp(m + work + found))).sum() == pytest.approx((1 / (1 + np.exp(back - m - found))).sum())


@pytest.mark.parametrize(("n", "m"), [(400, 700), (50, 51), (2000, 30)])
def test_pymbar_finds_the_same_ratio_and_error(n, m):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs_of = pytest.importorskip("pymbar").bar
        forward, reverse = samples(0, n, m)
        theirs = theirs_of(-forward, reverse, uncertainty_method="BAR", relative_tolerance=1e-14)
    ours = bar(forward, reverse)
    assert ours.value == pytest.approx(-theirs["Delta_f"], abs=1e-9)
    assert ours.stderr == pytest.approx(theirs["dDelta_f"], rel=1e-6)


def test_exchanging_the_sides_turns_the_sign():
    forward, reverse = samples(5)
    assert bar(-reverse, -forward).value == pytest.approx(-bar(forward, reverse).value, abs=1e-11)


def test_a_constant_ratio_has_no_error_however_large():
    for constant in (-4e5, 0.3, 1e7):
        found = bar(np.full(9, constant), np.full(4, constant))
        assert found.value == pytest.approx(constant, rel=1e-12, abs=1e-9)
        assert found.stderr == pytest.approx(0, abs=1e-6) and found.ess == pytest.approx(4)


def test_samples_outside_the_other_support_count_for_nothing_there():
    """q uniform on [0, 2), p on [1, 3): the ratio is one, half of each side overlaps."""
    rng = np.random.default_rng(0)
    forward = np.where(rng.random(4000) < 0.5, 0.0, -np.inf)
    reverse = np.where(rng.random(4000) < 0.5, 0.0, np.inf)
    found = bar(forward, reverse)
    assert abs(found.value) < 4 * found.stderr < 0.2
    assert found.ess == pytest.approx(2000, rel=0.1)
    assert log_mean(forward).value == pytest.approx(np.log(0.5), abs=0.1)


def test_samples_that_share_nothing_or_little_are_unreliable():
    with pytest.raises(Unreliable, match="no sample of one side"):
        bar(np.full(5, -np.inf), np.zeros(5))
    far = bar(np.random.default_rng(0).normal(-50, 10, 100), np.random.default_rng(1).normal(50, 10, 100))
    with pytest.raises(Unreliable):
        far.require_reliable()


def test_a_log_mean_of_any_size_and_its_error():
    w = np.random.default_rng(2).exponential(size=50)
    for shift in (0.0, -1e4, 1e4):
        found = log_mean(np.log(w) + shift)
        assert found.value == pytest.approx(np.log(w.mean()) + shift, abs=1e-9)
        assert found.stderr == pytest.approx(w.std(ddof=1) / np.sqrt(50) / w.mean(), rel=1e-9)
        assert found.ess == pytest.approx(w.sum() ** 2 / (w @ w))


def test_all_weights_zero_rest_on_nothing():
    nothing = log_mean(np.full(3, -np.inf))
    assert nothing.value == -np.inf and nothing.ess == 0 and np.isnan(nothing.stderr)
    with pytest.raises(Unreliable):
        nothing.require_reliable()


def test_replicates_are_averaged_before_the_logarithm():
    log_z = np.array([-3.0, -1.0, -np.inf, -2.0])
    found = combine_replicates(log_z)
    assert found.value == pytest.approx(logsumexp(log_z) - np.log(4))
    assert found.value > -2 + np.log(3 / 4)
    alone = combine_replicates(np.array([-3.0]))
    assert alone.value == -3 and np.isnan(alone.stderr) and alone.ess == 1


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: log_mean(np.array([0.0, np.nan])), "log-weight 1 is nan"),
        (lambda: log_mean(np.empty(0)), "n >= 1, one per sample, got \\(0,\\)"),
        (lambda: combine_replicates(np.array([np.inf])), "log_z of replicate 0 is inf"),
        (lambda: bar(np.array([np.inf]), np.zeros(1)), "forward log-weight 0 is inf"),
        (lambda: bar(np.zeros(1), np.array([-np.inf])), "reverse log-weight 0 is -inf"),
    ],
)
def test_weights_that_cannot_be(call, match):
    with pytest.raises(BadInput, match=match):
        call()
