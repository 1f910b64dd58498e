"""Differences of pairs and of independent estimates: laws, exact coverage, and a control that fails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from heatbath.errors import BadInput
from heatbath.estimate.paired_differences import (
    combine_p_values,
    draw_unit_weights,
    estimate_mean_difference,
    estimate_ratio,
    estimate_share_difference,
    estimate_weighted_difference,
    independent_difference,
    weighted_mean_error,
)

FINITE = st.floats(-1e6, 1e6)
OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60)


@given(hnp.arrays(np.float64, st.integers(2, 30), elements=FINITE))
def test_exchanging_the_sides_changes_the_sign_of_a_mean_difference(difference: np.ndarray) -> None:
    one, other = estimate_mean_difference(difference), estimate_mean_difference(-difference)
    assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)
    assert one.p_value == other.p_value
    assert one.low <= one.value <= one.high and 0 <= one.p_value <= 1


@given(OUTCOMES)
def test_exchanging_the_sides_changes_the_sign_of_a_share_difference(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs, np.float64).T
    one, other = estimate_share_difference(a, b), estimate_share_difference(b, a)
    assert np.allclose([one.value, one.low, one.high], [-other.value, -other.high, -other.low])
    assert one.p_value == other.p_value
    assert one.value == pytest.approx(b.mean() - a.mean())
    assert -1 <= one.low <= one.value <= one.high <= 1 and one.low < one.high


@given(st.integers(2, 60))
def test_shares_that_agree_in_every_pair_are_still_uncertain(n: int) -> None:
    found = estimate_share_difference(np.ones(n), np.ones(n))
    assert found.value == 0 and found.p_value == 1
    assert found.low == -found.high < -1 / (n + 2)


def test_equal_differences_have_no_interval_and_no_rounding() -> None:
    same = estimate_mean_difference(np.zeros(7))
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    shifted = estimate_mean_difference(np.full(7, 0.1))
    assert shifted.low == shifted.high == shifted.value and shifted.p_value == 0


def test_the_p_value_agrees_with_the_interval_and_with_scipy() -> None:
    rng = np.random.default_rng(0)
    for shift in np.linspace(0, 1, 21):
        sample = rng.normal(shift, 1, 15)
        found = estimate_mean_difference(sample)
        assert found.p_value == pytest.approx(stats.ttest_1samp(sample, 0).pvalue)
        assert (found.p_value < 0.05) == (not found.low <= 0 <= found.high)


def test_the_p_value_of_a_share_is_that_of_mcnemar() -> None:
    a, b = np.zeros(20), np.zeros(20)
    b[:7] = a[7:9] = 1
    assert estimate_share_difference(a, b).p_value == pytest.approx(stats.binomtest(7, 9).pvalue)


def _share_intervals(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The interval for each number of pairs that gained, lost or stayed, and these numbers."""
    counts = [(up, down, n - up - down) for up in range(n + 1) for down in range(n + 1 - up)]
    bounds = []
    for up, down, _ in counts:
        a, b = np.zeros(n), np.zeros(n)
        b[:up] = a[up : up + down] = 1
        found = estimate_share_difference(a, b)
        bounds.append((found.low, found.high))
    return np.array(counts), np.array(bounds)


def test_the_interval_of_a_share_covers_by_enumeration() -> None:
    """No random numbers: the coverage at each pair of probabilities is exact."""
    counts, bounds = _share_intervals(16)
    coverage = []
    for gained in (0.0, 0.05, 0.2, 0.5):
        for lost in (0.0, 0.05, 0.2, 0.4):
            chance = stats.multinomial.pmf(counts, 16, [gained, lost, 1 - gained - lost])
            covers = (bounds[:, 0] - 1e-12 <= gained - lost) & (gained - lost <= bounds[:, 1] + 1e-12)
            coverage.append(chance[covers].sum())
    assert min(coverage) > 0.92
    assert 0.94 < np.mean(coverage) < 0.99


def test_the_plain_interval_of_a_share_would_not_cover() -> None:
    """Control: without the added pairs, agreement by luck has an interval of no width."""
    n, gained = 16, 0.05
    covered = sum(
        stats.binom.pmf(up, n, gained)
        for up in range(n + 1)
        if abs(up / n - gained) <= 1.96 * np.sqrt(up / n * (1 - up / n) / n)
    )
    assert covered < 0.7


def test_mean_differences_cover_at_the_stated_rate() -> None:
    """4000 intervals: the count leaves 4 standard errors once in 16 000 runs of another seed; normal quantiles fail."""
    rng = np.random.default_rng(1)
    samples = rng.normal(0.3, 2.0, (4000, 6))
    found = [estimate_mean_difference(sample) for sample in samples]
    error = 4 * np.sqrt(0.95 * 0.05 / len(samples))
    assert np.mean([one.low <= 0.3 <= one.high for one in found]) == pytest.approx(0.95, abs=error)
    shrink = stats.norm.ppf(0.975) / stats.t.ppf(0.975, 5)
    narrow = [abs(one.value - 0.3) <= shrink * (one.high - one.value) for one in found]
    assert np.mean(narrow) < 0.95 - error


def test_means_over_texts_of_unequal_length_cover() -> None:
    """2000 intervals of 20 texts of 10 to 100 tokens: within 4 standard errors of 95 %, or a little below it."""
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(2000):
        sizes = rng.integers(10, 100, 20).astype(float)
        level = rng.normal(0.5, 0.2, 20)
        found = estimate_ratio(sizes * level, sizes)
        covered.append(found.low <= 0.5 <= found.high)
    assert 0.92 < np.mean(covered) < 0.97


@given(FINITE, FINITE, *[st.floats(0, 1e3)] * 4)
def test_independent_intervals_add_as_roots_of_squares(
    a: float, b: float, a_low: float, a_high: float, b_low: float, b_high: float
) -> None:
    value, low, high = independent_difference(a, b, (a - a_low, a + a_high), (b - b_low, b + b_high))
    back = independent_difference(b, a, (b - b_low, b + b_high), (a - a_low, a + a_high))
    assert value == b - a and low <= value <= high
    assert np.allclose(back, (-value, -high, -low))
    assert value - low == pytest.approx(np.hypot(b_low, a_high), abs=1e-6)


def test_the_smallest_p_value_counts_for_all() -> None:
    assert combine_p_values(np.array([1.0, 1.0])) == 1.0
    assert combine_p_values(np.array([0.0, 1.0])) == 0.0
    assert combine_p_values(np.array([0.01, 0.5, 0.9])) == pytest.approx(1 - 0.99**3)
    rng = np.random.default_rng(3)
    joint = [combine_p_values(row) for row in rng.random((4000, 12))]
    assert stats.kstest(joint, "uniform").pvalue > 1e-4


def test_units_share_their_weights_in_replicas() -> None:
    units = np.array([3, 1, 3, 1, 7])
    draws = draw_unit_weights(units, 500, np.random.default_rng(0))
    assert draws.shape == (500, 5)
    assert (draws[:, 0] == draws[:, 2]).all() and (draws[:, 0] != draws[:, 1]).all()
    assert draws.mean() == pytest.approx(1, abs=0.1)


@given(st.integers(2, 20), st.integers(0, 1000))
def test_equal_weights_give_the_mean_of_paired_differences(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    weights, units = np.full(n, 0.7), rng.permutation(n)
    found, plain = estimate_weighted_difference((a, weights), (b, weights), units), estimate_mean_difference(b - a)
    assert np.allclose([found.value, found.low, found.high], [plain.value, plain.low, plain.high])
    assert weighted_mean_error(a, weights, units)[1] == pytest.approx(a.std(ddof=1) / np.sqrt(n))


def test_weighted_means_of_units_cover() -> None:
    """1500 intervals of 15 units of two values each, of unequal weight: within 4 standard errors, or a little below."""
    rng = np.random.default_rng(4)
    covered = []
    for _ in range(1500):
        common = np.repeat(rng.normal(size=15), 2)
        a, b = common + 0.3 * rng.normal(size=30), common + 0.2 + 0.3 * rng.normal(size=30)
        weights = rng.uniform(0.5, 1.5, (2, 30))
        found = estimate_weighted_difference((a, weights[0]), (b, weights[1]), np.repeat(np.arange(15), 2))
        covered.append(found.low <= 0.2 <= found.high)
    assert 0.92 < np.mean(covered) < 0.975


@pytest.mark.parametrize(
    "estimate",
    [
        lambda: estimate_mean_difference(np.ones(1)),
        lambda: estimate_share_difference(np.ones(1), np.ones(1)),
        lambda: estimate_ratio(np.ones(1), np.ones(1)),
    ],
)
def test_one_pair_has_no_interval(estimate: object) -> None:
    with pytest.raises(BadInput, match="at least two"):
        estimate()  # type: ignore[operator]
