"""locate: an edge that holds, one that fades, one that is not there."""

import numpy as np
import pytest

from heatbath.estimate.finite_size import estimate_edge

SIZES = (32, 64, 128)


def replicas(centers, spread: float = 0.01, seed: int = 0) -> np.ndarray:
    return np.array(centers) + spread * np.random.default_rng(seed).normal(size=(2000, len(centers)))


def at(*temperatures: float) -> dict[int, float]:
    return dict(zip(SIZES, temperatures, strict=True))


def test_an_edge_that_stays_is_supported_with_the_bootstrap_interval():
    edge = estimate_edge("e", at(0.8, 0.8, 0.8), replicas([0.8, 0.8, 0.8]), fade=0.2)
    assert edge.supported and edge.reason == "holds as the text grows"
    assert edge.temperature == 0.8 and edge.by_size == at(0.8, 0.8, 0.8)
    assert edge.interval == pytest.approx((0.8 - 0.0196, 0.8 + 0.0196), abs=2e-3)


@pytest.mark.parametrize("step", [0.1, -0.1])
def test_the_interval_reaches_as_far_as_the_last_doubling_moved(step):
    edge = estimate_edge("e", at(0.8 - 2 * step, 0.8 - step, 0.8), replicas([0.8 - 2 * step, 0.8 - step, 0.8]))
    low, high = edge.interval
    assert min(low, high) < 0.8 + step < max(low, high)
    assert (high - 0.8 > 0.1) == (step > 0) and (0.8 - low > 0.1) == (step < 0)


@pytest.mark.parametrize(("drop", "supported"), [(0.0, True), (0.02, True), (0.1, False)])
def test_an_edge_that_falls_as_fast_as_order_fades_is_not_supported(drop, supported):
    centers = [0.8 + 2 * drop, 0.8 + drop, 0.8]
    edge = estimate_edge("e", at(*centers), replicas(centers), fade=0.1)
    assert edge.supported is supported
    assert ("as without a transition" in edge.reason) is not supported
    assert edge.interval is not None


@pytest.mark.parametrize(
    ("temperatures", "spread", "word"),
    [
        ((0.41, 0.47, 0.51), 0.01, "rises"),
        ((1.05, 1.00, 0.93), 0.01, "falls"),
        ((0.41, 0.47, 0.51), 0.05, "too few texts"),
        ((1.05, 1.00, 0.93), 0.1, "too few texts"),
        ((0.50, 0.51, 0.50), 0.005, "holds"),
        ((0.50, 0.51, 0.50), 0.05, "too few texts"),
        ((0.50, 0.505, 0.51), 0.002, "rises"),
    ],
)
def test_an_edge_holds_only_if_its_drift_is_known_to_be_small(
    temperatures: tuple[float, ...], spread: float, word: str
) -> None:
    reason = estimate_edge("e", at(*temperatures), replicas(temperatures, spread)).reason
    assert reason.startswith(word)
    assert word == "holds" or f"{temperatures[0]:.2f}, {temperatures[1]:.2f}, {temperatures[2]:.2f} at 32" in reason


def test_a_drift_that_noise_could_hide_is_not_supported():
    assert not estimate_edge("e", at(0.8, 0.8, 0.8), replicas([0.8, 0.8, 0.8], spread=0.2), fade=0.1).supported


def test_an_edge_missing_at_one_size_is_not_found():
    edge = estimate_edge("e", at(np.nan, 0.8, 0.8), replicas([np.nan, 0.8, 0.8]))
    assert (edge.temperature, edge.interval, edge.supported) == (None, None, False)
    assert edge.by_size == {64: 0.8, 128: 0.8}
    assert edge.reason == "not found at every size"


@pytest.mark.parametrize(("missing", "found"), [(300, True), (500, False)])
def test_an_edge_that_one_resample_in_five_misses_is_not_found(missing, found):
    draws = replicas([0.8, 0.8, 0.8])
    draws[:missing, 1] = np.nan
    edge = estimate_edge("e", at(0.8, 0.8, 0.8), draws)
    assert (edge.temperature is not None) is found
    assert found or edge.reason == "not found in 25% of resamples"
