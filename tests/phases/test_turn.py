"""The entropy turning point: on curves whose inflection is known, and on a model whose H(T) is exact."""

import numpy as np
import pytest

from heatbath.engine import generate
from heatbath.models import MarkovModel, Model, UrnModel
from heatbath.phases.curves import PooledSamples, pool_samples
from heatbath.phases.prefix_sums import compute_prefix_sums
from heatbath.phases.turn_baseline import find_turn, find_turning_point, tenths_grid

# Ground state, a few states near it and a thousand far above: log H bends down, then up when the thousand open.
LEVELS = np.r_[0.0, np.full(4, 1.0), np.full(1000, 8.0)]


def entropy(temperature: float) -> float:
    logw = -LEVELS / temperature
    p = np.exp(logw) / np.exp(logw).sum()
    return float(-(p * np.log(p)).sum())


def drawn(model: Model, *, low: float, high: float, texts: int, length: int, seed: int = 0) -> PooledSamples:
    temperatures = np.repeat(np.geomspace(low, high, 12), texts // 12)
    prompts = [()] * len(temperatures)
    run = generate(model, prompts, temperature=temperatures, max_tokens=length, seed=seed, record="nodes")
    samples = compute_prefix_sums(run.arrays.betas, np.ascontiguousarray(run.arrays.tokens), run.arrays.record)
    return pool_samples(samples, np.geomspace(low, high, 15))


def independent_tokens() -> Model:
    return MarkovModel(np.tile(LEVELS, (len(LEVELS), 1)), LEVELS)


def test_tenths_lie_within_the_range():
    assert tenths_grid(0.2, 0.5) == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert tenths_grid(0.21, 0.59) == pytest.approx([0.3, 0.4, 0.5])
    assert tenths_grid(1 / (1 / 0.3), 0.1 * 7) == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7])


@pytest.mark.parametrize("inflection", [0.65, 0.85, 1.1])
def test_the_turn_is_the_first_tenth_beyond_the_inflection(inflection):
    """Differences of a cubic are its derivatives, but at the ends: positive beyond the inflection."""
    grid = tenths_grid(0.3, 1.5)
    assert find_turn(grid, (grid - inflection) ** 3) == pytest.approx(np.floor(inflection * 10 + 1) / 10)


@pytest.mark.parametrize("curve", [lambda t: -1 / t, lambda t: 3 * t - 2, lambda t: t**2, np.ones_like])
def test_a_curve_that_only_bends_one_way_does_not_turn(curve):
    grid = tenths_grid(0.3, 1.5)
    assert np.isnan(find_turn(grid, curve(grid)))


def test_the_turn_of_a_known_model_is_found():
    """Exact H(T) turns at one tenth; the estimate is within a step, its interval no wider than one step each way."""
    grid = tenths_grid(0.3, 1.4)
    exact = find_turn(grid, np.log([entropy(t) for t in grid]))
    assert 0.5 < exact < 1.2
    found = find_turning_point(
        drawn(independent_tokens(), low=0.3, high=1.4, texts=120, length=32), np.random.default_rng(0)
    )
    assert found.supported and found.by_size == {32: found.temperature}
    low, high = found.interval
    assert low <= exact <= high and high - low < 0.25
    assert found.temperature == pytest.approx(exact, abs=0.11)


def test_the_urn_does_not_turn_where_its_entropy_only_flattens():
    found = find_turning_point(drawn(UrnModel(1.0), low=0.5, high=1.8, texts=240, length=64), np.random.default_rng(0))
    assert (found.temperature, found.interval, found.supported) == (None, None, False)
    assert "does not turn" in found.reason


def test_too_few_texts_say_so():
    few = drawn(independent_tokens(), low=0.3, high=1.4, texts=12, length=32)
    found = find_turning_point(few, np.random.default_rng(0))
    assert found.temperature is None and "measured temperatures" in found.reason


def test_the_same_seed_gives_the_same_interval():
    texts = drawn(independent_tokens(), low=0.3, high=1.4, texts=60, length=16)
    assert find_turning_point(texts, np.random.default_rng(3)) == find_turning_point(texts, np.random.default_rng(3))
