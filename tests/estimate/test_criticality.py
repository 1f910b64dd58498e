"""Critical observables against chains whose correlations are known exactly."""

import numpy as np
import pytest

from heatbath.estimate.criticality import (
    correlation,
    count_peaks,
    extrapolate_plateau,
    flow_slope,
    relaxation_time,
    spectrum,
    susceptibility,
    tag_means,
    within_susceptibility,
)

P = 0.3


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def independent(seed: int, n: int = 4000, length: int = 64) -> np.ndarray:
    return (rng(seed).random((n, length)) < P).astype(np.int64)


def mixture(seed: int, n: int = 4000, length: int = 64) -> np.ndarray:
    """Half of the sequences draw 1 with probability 0.2 for ever, half with 0.8."""
    draws = rng(seed)
    share = draws.choice([0.2, 0.8], size=(n, 1))
    return (draws.random((n, length)) < share).astype(np.int64)


def markov(seed: int, flip: float, *, n: int = 4000, length: int = 64, first: float = 0.5) -> np.ndarray:
    """Two states that flip with probability `flip`: correlations fall by 1 - 2 flip a place."""
    draws = rng(seed)
    start = draws.random((n, 1)) < first
    return (start ^ (np.cumsum(draws.random((n, length)) < flip, axis=1) % 2 == 1)).astype(np.int64)


def urn(seed: int, temperature: float, n: int, length: int) -> np.ndarray:
    """The urn of J = 1, drawn without a model."""
    draws, total, rows = rng(seed), np.zeros(n), np.empty((n, length), np.int64)
    for t in range(length):
        rows[:, t] = draws.random(n) < 1 / (1 + np.exp(-2 * total / max(t, 1) / temperature))
        total += 2 * rows[:, t] - 1
    return rows


def tau(tags: np.ndarray, size: int | None = None) -> float:
    size = size or tags.shape[1]
    return susceptibility(tag_means(tags, 2, (size,))[0], size)


def z_tau(tags: np.ndarray, expected: float) -> float:
    """tau less what is expected, in standard errors sqrt(2 / n) of a variance of Gaussians."""
    return (tau(tags) / expected - 1) / np.sqrt(2 / len(tags))


def test_means_are_those_of_prefixes():
    tags = rng(0).integers(0, 3, (5, 16))
    means = tag_means(tags, 3, (4, 16))
    assert means.shape == (2, 5, 3)
    assert np.allclose(means[0, 2], np.bincount(tags[2, :4], minlength=3) / 4)
    assert np.allclose(means.sum(2), 1)


@pytest.mark.parametrize("seed", range(4))
def test_independent_tags_have_the_variance_of_one(seed):
    """tau = 2 p (1 - p), both tags counted; four standard errors: a false alarm in 6e-5 of seeds."""
    tags = independent(seed)
    assert abs(z_tau(tags, 2 * P * (1 - P))) < 4
    assert within_susceptibility(tags, 2, (8,))[0] == pytest.approx(2 * P * (1 - P), rel=0.03)


@pytest.mark.parametrize("length", [16, 64, 256])
def test_a_frozen_mixture_grows_like_the_length_but_not_within_its_sequences(length):
    """tau = 2 (0.09 N + 0.16); the means of two kinds vary less than Gaussians, so four standard errors are ample."""
    tags = mixture(1, length=length)
    assert abs(z_tau(tags, 2 * (0.09 * length + 0.16))) < 4
    # n blocks of two or more each: the standard error of 0.32 is below sqrt(2 / 4000) of it.
    assert within_susceptibility(tags, 2, (length // 4,))[0] == pytest.approx(0.32, rel=4 * np.sqrt(2 / 4000))


def test_five_percent_more_variance_than_there_is_would_be_seen():
    assert abs(z_tau(independent(0, n=20000), 1.05 * 2 * P * (1 - P))) > 4


def test_one_block_says_nothing_of_what_is_within():
    assert np.isnan(within_susceptibility(independent(0, n=10), 2, (33,))[0])


def test_the_spectrum_at_zero_is_the_susceptibility_of_the_tag():
    tags = mixture(2, n=300)
    one = tag_means(tags, 2, (64,))[0, :, 1]
    assert spectrum(tags, 1)[0] == pytest.approx(64 * one.var(), rel=1e-12)
    assert spectrum(tags, 1)[0] * 300 / 299 == pytest.approx(tau(tags) / 2, rel=1e-12)


def test_the_spectrum_sums_to_the_variance_of_single_places():
    """Parseval: the average over all frequencies is the mean variance of a place."""
    tags = markov(0, 0.2, n=500)
    full = spectrum(tags, 1)
    folded = full[0] + 2 * full[1:-1].sum() + full[-1]
    assert folded / 64 == pytest.approx((tags == 1).var(0).mean(), rel=1e-10)


@pytest.mark.parametrize("period", [4, 8])
def test_periodic_tags_have_their_peaks(period):
    """A period p at a random phase has lines at multiples of N / p; the one at N / 2 is a border, no peak."""
    phase = rng(0).integers(0, period, (400, 1))
    tags = ((np.arange(64) + phase) % period == 0).astype(np.int64)
    lines = spectrum(tags, 1)
    assert np.flatnonzero(lines > 0.5 * lines.max()).tolist() == list(range(64 // period, 33, 64 // period))
    assert count_peaks(lines) == period // 2 - 1


def test_independent_tags_have_no_peaks():
    """Noise of sqrt(1 / n) = 1.6 % on a level of 0.21 is far from a prominence of 0.1."""
    assert count_peaks(spectrum(independent(0), 1)) == 0


@pytest.mark.parametrize("flip", [0.1, 0.3])
def test_the_correlation_of_a_two_state_chain_falls_by_a_constant_factor(flip):
    """2 * (1/4) (1 - 2 flip)^lag, both tags counted, within four standard errors by batches: 5e-4 for eight lags."""
    lags = np.array([1, 2, 4, 8])
    found = np.array([correlation(markov(seed, flip, n=1000), 2, lags) for seed in range(40)])
    z = (found.mean(0) - 0.5 * (1 - 2 * flip) ** lags) / (found.std(0, ddof=1) / np.sqrt(40))
    assert (np.abs(z) < 4).all()
    wrong = (found.mean(0) - 0.5 * (1 - 2 * flip) ** (lags + 1)) / (found.std(0, ddof=1) / np.sqrt(40))
    assert (np.abs(wrong) > 4).any()


def test_a_correlation_at_no_lag_is_the_variance_and_half_the_length_is_the_longest():
    tags = markov(3, 0.2, n=500)
    zero, longest = correlation(tags, 2, np.array([0, 32]))
    assert zero == pytest.approx(2 * (tags == 1)[:, 32:].var(0, ddof=1).mean(), rel=1e-10)
    assert abs(longest) < 0.1


@pytest.mark.parametrize("flip", [0.05, 0.1, 0.2])
def test_relaxation_takes_the_time_of_the_chain(flip):
    r"""d(t) falls by lambda^2 a place, so the sum over d(0) is 1 / (1 - lambda^2), as averaged over the first block."""
    factor = (1 - 2 * flip) ** 2
    block = 128 // 32
    exact = 1 / (1 - factor) / np.mean(factor ** np.arange(block))
    found = [relaxation_time(markov(s, flip, n=4000, length=128, first=1.0), 2) for s in range(6)]
    # The first place has had one chance to flip already: numerator and denominator share that factor.
    assert np.mean(found) == pytest.approx(exact, rel=0.06)


def test_the_noise_of_few_texts_is_no_relaxation():
    """With 100 texts the noise in d(t) would add 1.2, that of the late fractions 0.4; a standard error is 0.13."""
    factor = 0.8**2
    exact = 1 / (1 - factor) / np.mean(factor ** np.arange(4))
    found = [relaxation_time(markov(s, 0.1, n=100, length=128, first=1.0), 2) for s in range(300)]
    assert np.mean(found) == pytest.approx(exact, abs=0.5)


def test_tags_that_start_relaxed_have_no_relaxation():
    assert all(relaxation_time(markov(seed, 0.1, length=128), 2) == 0 for seed in range(5))


def urn_flow(temperature: float) -> np.ndarray:
    """log2 of the slope from 64 to 128 tokens, over 6 seeds."""
    means = [tag_means(urn(seed, temperature, 4000, 128), 2, (64, 128))[:, :, 1] for seed in range(6)]
    return np.log2([flow_slope(*m) for m in means])


@pytest.mark.parametrize("temperature", [1.0, 1.25, 1.6, 2.5])
def test_the_urn_flows_by_its_known_power(temperature):
    """J / T - 1, to 0.03: a standard error is below 0.006 and the bend of the map is worth about 0.01."""
    assert urn_flow(temperature).mean() == pytest.approx(1 / temperature - 1, abs=0.03)


def test_order_grows_below_the_critical_temperature_of_the_urn():
    """At T = 0.8 by more than 0.05 a doubling, ten standard errors from none; the map bends too much for J / T - 1."""
    assert 0.05 < urn_flow(0.8).mean() < 0.3


def test_independent_tags_flow_to_one_half_and_a_mixture_stays():
    """Standard errors of a slope: sqrt((1 - r^2) / n) of its own size, 1 % and 0.2 % here; four of them."""
    flows = [flow_slope(*tag_means(tags, 2, (32, 64))[:, :, 1]) for tags in (independent(0), independent(1))]
    assert flows == pytest.approx([0.5, 0.5], abs=0.04)


def test_a_frozen_mixture_of_many_kinds_flows_neither_way():
    """A share of its own for each sequence: the slope is one, less the sampling noise of the first half."""
    draws = rng(0)
    share = draws.uniform(0, 1, (4000, 1))
    tags = (draws.random((4000, 512)) < share).astype(np.int64)
    assert flow_slope(*tag_means(tags, 2, (256, 512))[:, :, 1]) == pytest.approx(1, abs=0.04)


def test_frozen_texts_of_two_kinds_flow_neither_way():
    """Their order parameter has two values only, which leaves a cubic undetermined."""
    kinds = rng(0).integers(0, 2, 200).astype(float)
    assert flow_slope(kinds, kinds) == pytest.approx(1, abs=1e-9)


def test_many_samples_at_once_are_those_of_one_by_one():
    """Resamples are a leading axis; one without any variation stays apart."""
    first, second = rng(1).random((2, 3, 40))
    first[1] = 0.5
    together = flow_slope(first, second)
    assert together.shape == (3,) and np.isnan(together[1])
    for one in (0, 2):
        assert together[one] == pytest.approx(flow_slope(first[one], second[one]), rel=1e-9)
    plateaus = extrapolate_plateau(np.array([[0.3, 0.2, 0.25], [1.0, 0.95, 0.90]]))
    assert plateaus == pytest.approx([0.25, 0.45])


def test_a_constant_order_parameter_has_no_flow():
    assert np.isnan(flow_slope(np.full(50, 0.5), rng(0).random(50)))


@pytest.mark.parametrize("power", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("level", [0.0, 0.2])
def test_a_plateau_beside_a_power_is_found_exactly(power, level):
    sizes = np.array([16.0, 64.0, 256.0])
    assert extrapolate_plateau(level + 0.7 * sizes**-power) == pytest.approx(level, abs=1e-12)


def test_a_variance_that_has_stopped_falling_is_its_own_plateau():
    assert extrapolate_plateau(np.array([0.3, 0.2, 0.2])) == 0.2
    assert extrapolate_plateau(np.array([0.3, 0.2, 0.25])) == 0.25


def test_falls_that_do_not_slow_down_are_not_extrapolated_without_end():
    """The ratio of falls is capped at 0.9, and a plateau is never negative."""
    assert extrapolate_plateau(np.array([1.0, 0.95, 0.90])) == pytest.approx(0.45)
    assert extrapolate_plateau(np.array([1.0, 0.9, 0.5])) == 0.0
    assert extrapolate_plateau(np.array([0.5, 0.6, 0.55])) == pytest.approx(0.1)
