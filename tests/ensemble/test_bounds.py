"""A top-k list: the truth lies within the bounds, and both ends are attained."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ensembles import quick
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from heatbath.ensemble import bounds, state
from heatbath.errors import BadInput, NotANumber

spectra = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 30))


@quick
@given(spectra, st.data())
def test_the_truth_lies_within(e, data):
    k = data.draw(st.integers(1, len(e)))
    whole = state(e, 1.0)
    logprobs = np.sort(-e - whole.log_z)[::-1]
    seen = bounds(logprobs[:k], len(e))
    slack = 1e-9
    assert seen.entropy.low - slack <= whole.entropy <= seen.entropy.high + slack
    assert seen.purity.low - slack <= whole.purity <= seen.purity.high + slack
    assert seen.tail_mass.low - slack <= np.exp(logprobs[k:]).sum() <= seen.tail_mass.high + slack
    for beta in (0.0, 0.3, 1.0, 2.5):
        truth = state(-logprobs, beta).log_z
        there = seen.log_z(beta)
        assert there.low - 1e-6 <= truth <= there.high + 1e-6


@quick
@given(spectra)
def test_the_whole_list_is_exact(e):
    whole = state(e, 1.0)
    seen = bounds(-e - whole.log_z, len(e))
    assert seen.entropy.low == seen.entropy.high == pytest.approx(whole.entropy, abs=1e-12)
    assert seen.purity.low == seen.purity.high == pytest.approx(whole.purity)
    assert seen.log_z(2.0).low == pytest.approx(state(e, 2.0).log_z - 2 * whole.log_z, abs=1e-9)


def test_both_ends_are_attained():
    even = np.log(np.array([0.4, 0.2] + [0.1] * 4))
    packed = np.log(np.array([0.4, 0.2, 0.2, 0.2]))
    seen = bounds(even[:2], 6)
    assert seen.entropy.high == pytest.approx(-(np.exp(even) * even).sum())
    assert seen.entropy.low == pytest.approx(-(np.exp(packed) * packed).sum())
    assert seen.purity.low == pytest.approx(np.exp(2 * even).sum())
    assert seen.purity.high == pytest.approx(np.exp(2 * packed).sum())
    for beta in (0.5, 3.0):
        ends = sorted(math.log(np.exp(beta * p).sum()) for p in (even, packed))
        assert [float(seen.log_z(beta).low), float(seen.log_z(beta).high)] == pytest.approx(ends)


def test_gauge_order_and_shape():
    logprobs = np.log(np.array([[0.1, 0.6, 0.2], [0.5, 0.2, 0.2]]))
    seen = bounds(logprobs, 50)
    assert seen.entropy.low.shape == (2,)
    assert (seen.log_z(1.0).low == 0.0).all() and (seen.log_z(1.0).high == 0.0).all()
    assert seen.logprobs[0, 0] == math.log(0.6)
    np.testing.assert_allclose(seen.tail_mass.low, 0.1)


@pytest.mark.parametrize(
    ("logprobs", "size", "words"),
    [
        ([0.5, -1.0], 9, "0.5 at"),
        ([math.log(0.7), math.log(0.6)], 9, "above 1"),
        ([-1.0, -2.0, -3.0], 2, "from 1 to all 2 states"),
        ([], 2, "must list from 1 to all"),
        ([math.log(0.5), math.log(0.01)], 10, "leaves"),
        ([math.log(0.5), math.log(0.3)], 2, "leaves"),
    ],
)
def test_impossible_lists_are_refused(logprobs, size, words):
    with pytest.raises(BadInput, match=words):
        bounds(np.array(logprobs, float), size)


def test_nan_and_bad_betas_are_refused():
    with pytest.raises(NotANumber):
        bounds(np.array([math.nan]), 3)
    for beta in (-1.0, math.inf, math.nan):
        with pytest.raises(BadInput):
            bounds(np.array([-1.0]), 30).log_z(beta)
