"""The end of order: found on the urn, where it is known; not found on chains that only seem ordered at these sizes."""

import numpy as np
import pytest

from heatbath.estimate.criticality import tag_means
from heatbath.estimate.crossings import estimate_zero_crossing
from heatbath.estimate.order_parameter import (
    OrderData,
    estimate_order_edges,
    project_to_principal_axis,
)

SIZES = tuple(2**i for i in range(2, 9))
TEMPERATURES = np.geomspace(0.4, 2.2, 12)


def urn(temperatures: np.ndarray, rows: int, length: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Mean tags (s, n) of urns with J = 1 at each temperature."""
    t_k = np.repeat(temperatures, rows)
    total, tags = np.zeros(len(t_k)), np.empty((len(t_k), length), np.int64)
    for t in range(length):
        tags[:, t] = rng.random(len(t_k)) < 1 / (1 + np.exp(-2 * total / max(t, 1) / t_k))
        total += 2 * tags[:, t] - 1
    return [tag_means(part, 2, SIZES)[:, :, 1] for part in np.split(tags, len(temperatures))]


def chain(temperatures: np.ndarray, rows: int, length: int, rng: np.random.Generator, gap: float) -> list[np.ndarray]:
    """Mean tags of Ising chains whose next spin differs at the cost of `gap`: they order at no T > 0."""
    t_k = np.repeat(temperatures, rows)
    flips = rng.random((len(t_k), length)) < 1 / (1 + np.exp(gap / t_k))[:, None]
    flips[:, 0] = rng.random(len(t_k)) < 0.5
    tags = np.cumsum(flips, axis=1) % 2
    return [tag_means(part, 2, SIZES)[:, :, 1] for part in np.split(tags, len(temperatures))]


def edges(means_k: list[np.ndarray], seed: int, replicas: int = 40):
    return estimate_order_edges(OrderData(TEMPERATURES, SIZES, means_k), np.random.default_rng(seed), replicas=replicas)


def reported(found) -> bool:
    return all(edge.supported for edge in found)


def test_the_urn_orders_at_its_critical_temperature():
    """Both supported, and J within the hull of their intervals, in 5 of 6 seeds with 400 texts at each temperature.

    With a true rate of 95 % fewer come with probability 3e-2; seeds are fixed.
    """
    held, covered = 0, 0
    for seed in range(6):
        found = edges(urn(TEMPERATURES, 400, 256, np.random.default_rng(seed)), seed)
        held += reported(found)
        intervals = np.array([edge.interval for edge in found if edge.interval])
        covered += bool(len(intervals)) and bool(intervals[:, 0].min() <= 1 <= intervals[:, 1].max())
    assert held >= 5 and covered >= 5


@pytest.mark.parametrize("gap", [1.0, 3.0, 6.0])
def test_a_chain_has_no_order_even_where_its_texts_are_frozen(gap):
    """With a gap of 6 the coldest texts of 256 tags are uniform. In 4 seeds, nothing may be reported by both."""
    means = [chain(TEMPERATURES, 200, 256, np.random.default_rng(seed), gap) for seed in range(4)]
    assert not any(reported(edges(m, seed)) for seed, m in enumerate(means))


def test_independent_tags_have_no_order():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        means = [tag_means(rng.integers(0, 2, (100, 256)), 2, SIZES)[:, :, 1] for _ in TEMPERATURES]
        assert not any(edge.supported for edge in edges(means, seed))


def flowing(fall: float, seed: int) -> OrderData:
    """Order parameters whose log2 slope is 3 (beta - 1), at least -1, and higher by `fall` for each doubling before."""
    rng, means_k, temperatures = np.random.default_rng(seed), [], np.geomspace(0.6, 2.2, 18)
    for beta in 1 / temperatures:
        m = [rng.normal(size=400)]
        for doubling in range(len(SIZES) - 1):
            flow = np.clip(3 * (beta - 1) - fall * (doubling - 5), -1, 0.2)
            m.append(2**flow * m[-1] + 0.02 * rng.normal(size=400) * m[-1].std())
        means_k.append(np.array(m))
    return OrderData(temperatures, SIZES, means_k)


@pytest.mark.parametrize(("fall", "supported"), [(0.0, True), (0.25, False)])
def test_an_edge_whose_flow_falls_with_every_doubling_fades(fall, supported):
    """The edge is at T = 1 at the last doubling; a finite memory lowers the flow by a quarter a doubling."""
    for seed in range(3):
        flow, _ = estimate_order_edges(flowing(fall, seed), np.random.default_rng(seed), replicas=40)
        assert flow.temperature == pytest.approx(1.0, abs=0.03)
        assert flow.supported is supported


def test_one_order_parameter_stands_for_several_tags():
    """With two tags it is the difference of their fractions; its axis is shared by all temperatures."""
    rng = np.random.default_rng(0)
    tags = [rng.integers(0, 2, (50, 256)) for _ in range(3)]
    both = project_to_principal_axis([tag_means(t, 2, SIZES) for t in tags])
    for means, one in zip(both, tags, strict=True):
        fraction = tag_means(one, 2, SIZES)[:, :, 1]
        assert means.shape == (len(SIZES), 50)
        deviation = means - means.mean(1, keepdims=True)
        expected = np.sqrt(2) * (fraction - fraction.mean(1, keepdims=True))
        assert np.allclose(deviation, np.sign((deviation * expected).sum()) * expected)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_line_vanishes_where_it_crosses_zero(shuffled):
    x = np.linspace(0.2, 2, 19)
    order = np.random.default_rng(0).permutation(19) if shuffled else np.arange(19)
    y = np.maximum(0, 1.3 - x)
    assert estimate_zero_crossing(x[order], y[order]) == pytest.approx(1.3, abs=1e-9)


def test_what_never_vanishes_or_never_was_has_no_end():
    x = np.linspace(0.2, 2, 19)
    assert np.isnan(estimate_zero_crossing(x, np.ones(19)))
    assert np.isnan(estimate_zero_crossing(x, np.zeros(19)))
    # Nearly flat until it drops: the line through the last high points reaches zero far outside.
    assert np.isnan(estimate_zero_crossing(x, np.where(x < x[9], 1.0 - 1e-12 * x, 0.0)))
