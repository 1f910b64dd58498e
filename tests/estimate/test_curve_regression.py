"""Curves through observations: shares run through what was counted, bands stay in bounds, agreement is no certainty."""

import numpy as np
import pytest
from scipy.special import expit

from heatbath.estimate.curve_regression import FittedCurve, MeanData, fit_mean_curve, fit_share_curve

GRID = np.linspace(0.2, 1.8, 81)


def places(number: int = 320) -> np.ndarray:
    return np.linspace(0.2, 1.8, number)


def counted_loops() -> tuple[np.ndarray, np.ndarray]:
    """Most texts loop below T = 0.4, 17 of 56 from 0.5 to 0.6, 10 of 62 from 0.6 to 0.7, and none of 200 above 0.85."""
    counts = ((0.2, 0.4, 60, 50), (0.4, 0.5, 50, 25), (0.5, 0.6, 56, 17), (0.6, 0.7, 62, 10), (0.7, 0.85, 40, 2))
    x, hit = [np.linspace(0.86, 1.8, 200)], [np.zeros(200)]
    for low, high, number, hits in counts:
        x.append(np.linspace(low, high, number))
        hit.append(np.random.default_rng(0).permutation(np.arange(number) < hits).astype(float))
    return np.concatenate(x), np.concatenate(hit)


def at(curve: FittedCurve, x: float) -> tuple[float, float, float]:
    k = int(np.abs(GRID - x).argmin())
    return float(curve.low[k]), float(curve.value[k]), float(curve.high[k])


def test_a_share_runs_through_what_was_counted() -> None:
    curve = fit_share_curve(*counted_loops(), GRID)
    for x, share in ((0.3, 50 / 60), (0.45, 0.5), (0.55, 17 / 56), (0.65, 10 / 62)):
        low, value, high = at(curve, x)
        assert low < share < high and abs(value - share) < 0.08, x
    low, value, high = at(curve, 1.3)
    assert low == 0 and value < 0.01 and 0.002 < high < 0.04, "none of 200 does not say never"


@pytest.mark.parametrize(("number", "hits"), [(19, 2), (160, 0), (160, 160), (40, 1), (12, 6)])
def test_bands_of_few_outcomes_are_wide_and_within_bounds(number: int, hits: int) -> None:
    hit = (np.arange(number) < hits).astype(float)
    curve = fit_share_curve(places(number), hit, GRID)
    for column in (curve.low, curve.value, curve.high):
        assert np.isfinite(column).all() and (column >= 0).all() and (column <= 1).all()
    assert (curve.low <= curve.value).all() and (curve.value <= curve.high).all()
    assert ((curve.high - curve.low).max() > 1 / number) and np.isfinite(curve.slope_stderr).all()
    if hits in (0, number):
        assert (curve.low.max() == 0) if hits == 0 else (curve.high.min() == 1)


def test_a_share_and_its_complement_have_mirrored_bands() -> None:
    x, hit = counted_loops()
    one, other = fit_share_curve(x, hit, GRID), fit_share_curve(x, 1 - hit, GRID)
    assert np.allclose(one.value, 1 - other.value, atol=2e-3) and np.allclose(one.slope, -other.slope, atol=2e-2)
    assert np.allclose(one.low, 1 - other.high, atol=2e-3) and np.allclose(one.high, 1 - other.low, atol=2e-3)


def truth(x: np.ndarray) -> np.ndarray:
    return np.tanh(4 * (x - 1))


def means(seed: int, weight: np.ndarray | None = None, *, scale: float = 1.0, shift: float = 0.0) -> MeanData:
    noise = 0.3 * np.random.default_rng(seed).normal(size=320)
    count = np.ones(320) if weight is None else weight
    return MeanData(places(), shift + scale * (truth(places()) + noise / np.sqrt(np.maximum(count, 1e-9))), count)


def test_bands_cover_a_known_curve() -> None:
    """20 data sets with about eight independent places each: the standard error of 95 % is 1.7 %."""
    inside = []
    for seed in range(20):
        curve = fit_mean_curve(means(seed), GRID)
        inside.append((curve.low < truth(GRID)) & (truth(GRID) < curve.high))
    assert 0.88 < np.mean(inside) < 0.995


def test_a_fit_in_other_units_is_the_same_curve_in_those_units() -> None:
    one, other = fit_mean_curve(means(1), GRID), fit_mean_curve(means(1, scale=3, shift=5), GRID)
    assert np.allclose(other.value, 5 + 3 * one.value, atol=1e-6) and np.allclose(other.low, 5 + 3 * one.low, atol=1e-6)


def test_an_observation_without_weight_does_not_count() -> None:
    weight = np.ones(320)
    weight[::4] = 0
    data = means(2)
    data.value[::4] = 1e6
    curve = fit_mean_curve(MeanData(data.x, data.value, weight), GRID)
    assert np.abs(curve.value - truth(GRID)).max() < 0.4


@pytest.mark.parametrize("level", [0.0, 3.0, 1e6])
def test_observations_that_all_agree_give_that_value(level: float) -> None:
    curve = fit_mean_curve(MeanData(places(), np.full(320, level), np.ones(320), resolution=1 / 32), GRID)
    assert np.allclose(curve.value, level, rtol=1e-6, atol=1e-6)
    width = curve.high - curve.low
    assert (width > 1e-4).all() and (width < 1 / 32).all(), "one text may still differ by one token"


def test_a_share_of_a_logistic_curve_is_covered() -> None:
    """20 data sets: as for means; the curve has a steep part and a long part at zero."""
    inside, share = [], 0.85 * expit((0.7 - GRID) / 0.06)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        hit = (rng.random(320) < 0.85 * expit((0.7 - places()) / 0.06)).astype(float)
        curve = fit_share_curve(places(), hit, GRID)
        inside.append(((curve.low <= share) & (share <= curve.high))[share > 0.02])
    assert np.mean(inside) > 0.87
