"""The recommended range where texts freeze, where few do, and where the data do not say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.phases.advice import GROUP_SIZE, find_free_temperature, recommend_range
from heatbath.phases.edges import Edge

TEMPERATURES = np.linspace(0.2, 1.8, 448)
NO_FREEZE = Edge("freeze", None, None, "not found at every size", ())
FREEZE = Edge("freeze", 0.45, (0.4, 0.5), "two estimators agree", ())
MELT = Edge("melt", 0.95, (0.9, 1.0), "two estimators agree", ())
NO_MELT = Edge("melt", None, None, "not found at every size", ())


def test_between_two_edges_the_range_is_clear_of_both() -> None:
    advice = recommend_range([FREEZE, MELT], 0.3)
    assert advice.range == (0.5, 0.9) and advice.reason == "clear of both edges' intervals"


def test_without_a_freeze_edge_the_range_starts_where_few_texts_are_frozen() -> None:
    advice = recommend_range([NO_FREEZE, MELT], 0.3)
    assert advice.range == (0.3, 0.9) and "from T = 0.30 on fewer than half of the texts loop" in advice.reason
    assert recommend_range([NO_FREEZE, MELT]).range is None
    assert recommend_range([NO_FREEZE, NO_MELT], 0.3).range is None, "without a melt edge there is no upper end"
    assert recommend_range([NO_FREEZE, MELT], 0.95).range is None


def test_the_free_temperature_is_above_every_group_that_may_be_frozen() -> None:
    frozen = (TEMPERATURES < 0.6).astype(float)
    found = find_free_temperature(TEMPERATURES, frozen)
    assert found is not None and 0.55 < found < 0.75
    assert find_free_temperature(TEMPERATURES, np.zeros(448)) == 0.2
    assert find_free_temperature(TEMPERATURES, np.ones(448)) is None
    assert find_free_temperature(np.array([0.5, 1.0]), np.zeros(2)) is None, "two texts say nothing"


def test_one_temperature_is_not_divided() -> None:
    temperatures = np.repeat([0.3, 0.9], [3 * GROUP_SIZE, GROUP_SIZE])
    frozen = np.concatenate([np.ones(2 * GROUP_SIZE), np.zeros(2 * GROUP_SIZE)])
    assert find_free_temperature(temperatures, frozen) == 0.9


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 1.0))
def test_a_model_that_is_frozen_everywhere_is_rarely_called_free(seed: int, share: float) -> None:
    """The hottest group passes with a probability of 2.5 % at most, the two hottest with 6e-4."""
    frozen = (np.random.default_rng(seed).random(448) < share).astype(float)
    found = find_free_temperature(TEMPERATURES, frozen)
    assert found is None or found > TEMPERATURES[-3 * GROUP_SIZE]


def test_a_share_of_a_tenth_is_called_free_almost_always() -> None:
    rng = np.random.default_rng(0)
    found = [find_free_temperature(TEMPERATURES, (rng.random(448) < 0.1).astype(float)) for _ in range(50)]
    assert np.mean([one == pytest.approx(0.2) for one in found]) > 0.9
