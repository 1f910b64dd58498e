"""half_crossing against outcomes whose crossing is known."""

import numpy as np
import pytest
from scipy.special import expit

from heatbath.estimate.crossings import half_crossing, half_crossings

CENTER, WIDTH = 0.8, 0.06
X = np.repeat(np.linspace(0.3, 1.5, 40), 10)


def outcomes(seed: int, center: float = CENTER) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(X)) < expit((center - X) / WIDTH)).astype(float)


def interval(seed: int) -> tuple[float, float]:
    """A 95 % bootstrap interval of the crossing."""
    draws = np.random.default_rng(1000 + seed).exponential(size=(60, len(X)))
    low, high = np.quantile(half_crossings(X, outcomes(seed), draws)[0], [0.025, 0.975])
    return float(low), float(high)


def test_the_crossing_of_logistic_outcomes_is_found_without_bias():
    """The mean of 200 is off by four of its standard errors with probability 6e-5."""
    found = np.array([half_crossing(X, outcomes(seed), np.ones(len(X))) for seed in range(200)])
    assert abs(found[:, 0].mean() - CENTER) < 4 * found[:, 0].std() / np.sqrt(200)
    assert found[:, 0].std() < 0.03
    assert found[:, 1].mean() == pytest.approx(WIDTH, rel=0.05)


def test_its_bootstrap_interval_covers():
    """At least 33 of 40 intervals from 60 resamples, which cover 93 %: fewer with probability 1e-2. Moved, few do."""
    intervals = np.array([interval(seed) for seed in range(40)])
    assert ((intervals[:, 0] < CENTER) & (intervals[:, 1] > CENTER)).sum() >= 33
    moved = CENTER + np.ptp(intervals, axis=1).mean()
    assert ((intervals[:, 0] < moved) & (intervals[:, 1] > moved)).sum() < 13


def test_separated_outcomes_cross_between_the_two_kinds():
    hits = (X < 0.7).astype(float)
    place, width = half_crossing(X, hits, np.ones(len(X)))
    assert X[hits == 1].max() < place < X[hits == 0].min()
    assert 0 < width < 0.05


def test_a_weight_counts_like_a_repetition():
    counts = np.random.default_rng(5).integers(0, 3, len(X))
    repeated = half_crossing(np.repeat(X, counts), np.repeat(outcomes(0), counts), np.ones(counts.sum()))
    weighed = half_crossing(X, outcomes(0), counts.astype(float))
    # The weak prior is on the standardised slope, whose unit differs between the two.
    assert weighed == pytest.approx(repeated, abs=1e-4)


@pytest.mark.parametrize(
    "hits",
    [np.zeros(len(X)), np.ones(len(X)), (X > 0.7).astype(float), outcomes(0, center=3.0), outcomes(0, center=-1.0)],
    ids=["none", "all", "rising", "beyond the hot end", "beyond the cold end"],
)
def test_without_a_fall_through_one_half_there_is_no_crossing(hits):
    assert np.isnan(half_crossing(X, hits, np.ones(len(X)))).all()


def test_many_weights_at_once_are_each_on_their_own() -> None:
    weights = np.random.default_rng(3).exponential(size=(20, len(X)))
    weights[7] = outcomes(0)  # all hits: no crossing
    places, widths = half_crossings(X, outcomes(0), weights)
    alone = np.array([half_crossing(X, outcomes(0), w) for w in weights])
    np.testing.assert_allclose(np.stack([places, widths], axis=1), alone, rtol=1e-6)
    assert np.isnan(places[7]) and np.isfinite(np.delete(places, 7)).all()
