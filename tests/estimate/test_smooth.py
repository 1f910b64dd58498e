"""The smooth curve: its bands cover, it is linear in the data, slopes help, and degenerate errors do no harm."""

import numpy as np
import pytest

from heatbath.errors import BadInput
from heatbath.estimate.smooth import CurveData, fit_smoother

X = np.linspace(0.2, 1.8, 17)
GRID = np.linspace(0.25, 1.75, 31)
NOISE, SLOPE_NOISE = 0.05, 0.3


def truth(x):
    return 2 * np.tanh(4 * (x - 1)) + 0.5 * x


def slope(x):
    return 8 / np.cosh(4 * (x - 1)) ** 2 + 0.5


def measured(seed: int, *, slopes: bool = True, claimed: float = 1.0) -> CurveData:
    """Noisy values and slopes; `claimed` times their noise is what they say it is."""
    noise = np.random.default_rng(seed).normal(size=(2, len(X)))
    slope_x = slope(X) + SLOPE_NOISE * noise[1] if slopes else np.full(len(X), np.nan)
    errors = np.full(len(X), NOISE * claimed), np.full(len(X), SLOPE_NOISE * claimed)
    return CurveData(X, truth(X) + NOISE * noise[0], errors[0], slope_x, errors[1])


def curve(points: CurveData):
    smooth = fit_smoother(points, GRID)
    return smooth, smooth.apply(points.value, points.slope)


def covered(claimed: float, sets: int = 40) -> tuple[float, float]:
    """How often, over some data sets and the grid, value and slope lie within 1.96 standard errors of the truth."""
    inside = []
    for seed in range(sets):
        smooth, (value, rise) = curve(measured(seed, claimed=claimed))
        inside.append((np.abs(value - truth(GRID)) / smooth.stderr[0], np.abs(rise - slope(GRID)) / smooth.stderr[1]))
    share = (np.array(inside) < 1.96).mean((0, 2))
    return float(share[0]), float(share[1])


def test_bands_cover_a_known_curve_and_its_slope():
    """95 % pointwise. A data set has about ten independent points, so that 40 have a standard error of 1.1 %.

    Four of these are allowed, and for the slope two per cent more where it is steepest: a false alarm in 1e-4 of seeds.
    """
    value, rise = covered(1.0)
    assert 0.905 < value < 0.995 and 0.885 < rise < 0.995


def test_bands_from_errors_claimed_three_times_too_small_do_not_cover():
    value, rise = covered(1 / 3, 10)
    assert value < 0.85 and rise < 0.85


def test_slopes_help():
    def error(slopes: bool) -> float:
        curves = [curve(measured(seed, slopes=slopes))[1][0] for seed in range(8)]
        return float(np.sqrt(np.mean((np.array(curves) - truth(GRID)) ** 2)))

    assert error(True) < 0.9 * error(False)


def test_the_smoother_is_linear():
    smooth = fit_smoother(measured(0), GRID)
    a, b = measured(1), measured(2)
    mixed = smooth.apply(0.3 * a.value + 0.7 * b.value, 0.3 * a.slope + 0.7 * b.slope)
    parts = [np.array(smooth.apply(p.value, p.slope)) for p in (a, b)]
    assert np.allclose(mixed, 0.3 * parts[0] + 0.7 * parts[1], atol=1e-12)


def test_a_fit_in_other_units_is_the_same_curve_in_those_units():
    points = measured(3)
    other = CurveData(X, 5 + 3 * points.value, 3 * points.value_stderr, 3 * points.slope, 3 * points.slope_stderr)
    (one, (value, rise)), (two, (value3, rise3)) = curve(points), curve(other)
    assert np.allclose(value3, 5 + 3 * value, atol=1e-4) and np.allclose(rise3, 3 * rise, atol=1e-3)
    assert np.allclose(two.stderr[0], 3 * one.stderr[0], rtol=1e-3)


def test_the_slope_is_the_derivative_of_the_curve():
    points, step = measured(4), 1e-4
    grid = np.concatenate([GRID - step, GRID + step, GRID])
    value, rise = fit_smoother(points, grid).apply(points.value, points.slope)
    below, above, _ = np.split(value, 3)
    assert np.allclose((above - below) / (2 * step), rise[-len(GRID) :], atol=1e-3)


@pytest.mark.parametrize("height", [0.0, 3.0])
def test_samples_that_all_agree_do_not_break_it(height):
    """No spread gives zero standard errors and equal values."""
    zero, level = np.zeros(len(X)), np.full(len(X), height)
    points = CurveData(X, level, zero, zero, zero)
    smooth, (value, rise) = curve(points)
    assert np.allclose(value, height, atol=1e-3) and np.allclose(rise, 0, atol=1e-2)
    assert np.isfinite(smooth.stderr).all()


def test_one_exact_point_among_noisy_ones_holds_the_curve():
    points = measured(5)
    points.value[8], points.value_stderr[8] = truth(X[8]), 0.0
    smooth = fit_smoother(points, X[8:9])
    assert smooth.apply(points.value, points.slope)[0][0] == pytest.approx(truth(X[8]), abs=0.01)


def test_missing_points_are_left_out():
    points = measured(6)
    points.value[::2] = np.nan
    points.slope[1::2] = np.nan
    _, (value, _) = curve(points)
    assert np.abs(value - truth(GRID)).max() < 0.3


def test_two_values_are_no_curve():
    points = measured(0)
    points.value[2:] = np.nan
    with pytest.raises(BadInput, match="measurements at three temperatures, got 2"):
        fit_smoother(points, GRID)
