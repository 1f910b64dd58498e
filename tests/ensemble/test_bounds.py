"""A top-k list: the truth lies within the bounds, and both ends are attained."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
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
    seen = bounds(-e - whole.log_z, len(e), rounding=0)
    for interval, truth in ((seen.entropy, whole.entropy), (seen.purity, whole.purity)):
        assert [interval.low, interval.high] == pytest.approx([float(truth)] * 2, rel=1e-12, abs=1e-12)
    assert seen.log_z(2.0).low == pytest.approx(state(e, 2.0).log_z - 2 * whole.log_z, abs=1e-9)


def test_both_ends_are_attained():
    even = np.log(np.array([0.4, 0.2] + [0.1] * 4))
    packed = np.log(np.array([0.4, 0.2, 0.2, 0.2]))
    seen = bounds(even[:2], 6, rounding=0)
    assert seen.entropy.high == pytest.approx(-(np.exp(even) * even).sum())
    assert seen.entropy.low == pytest.approx(-(np.exp(packed) * packed).sum())
    assert seen.purity.low == pytest.approx(np.exp(2 * even).sum())
    assert seen.purity.high == pytest.approx(np.exp(2 * packed).sum())
    for beta in (0.5, 3.0):
        ends = sorted(math.log(np.exp(beta * p).sum()) for p in (even, packed))
        assert [float(seen.log_z(beta).low), float(seen.log_z(beta).high)] == pytest.approx(ends)


def assert_truth_within(seen, logprobs, listed_states):
    """The true values of a distribution lie within the bounds of a list of its most probable states."""
    p = np.exp(logprobs)
    entropy = -(p * np.where(p > 0, logprobs, 0.0)).sum(-1)
    tail = np.exp(np.sort(logprobs)[..., :-listed_states]).sum(-1)
    for interval, truth in ((seen.entropy, entropy), (seen.purity, (p**2).sum(-1)), (seen.tail_mass, tail)):
        assert (interval.low <= truth * (1 + 1e-12) + 1e-15).all() and (truth <= interval.high * (1 + 1e-12)).all()
    for beta in (0.0, 0.1, 0.7, 1.0, 1.5, 4.0, 60.0):
        truth = np.log((p**beta * (p > 0)).sum(-1))
        interval = seen.log_z(beta)
        assert (interval.low <= truth + 1e-9).all() and (truth <= interval.high + 1e-9).all()


logits = hnp.arrays(np.float64, st.integers(2, 50), elements=st.floats(-12, 12))
peaks = st.sampled_from([0.0, 3.0, 17.0, 30.0, 60.0])
FORMATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@quick
@given(logits, peaks, st.sampled_from(FORMATS), st.data())
def test_the_truth_lies_within_for_rounded_numbers(energies, peak, dtype, data):
    energies[0] += peak
    k, truth = data.draw(st.integers(1, len(energies))), torch.log_softmax(torch.from_numpy(energies), -1)
    listed = truth.to(dtype).sort(descending=True).values[:k]
    assert_truth_within(bounds(listed, len(energies)), truth.numpy(), k)
    # Of what came from a server as JSON, float32 printed in full is recognised; half precision must be said.
    if dtype in (torch.float64, torch.float32):
        assert_truth_within(bounds(listed.tolist(), len(energies)), truth.numpy(), k)


@quick
@given(logits, peaks, st.integers(1, 9), st.data())
def test_the_truth_lies_within_for_printed_decimals(energies, peak, decimals, data):
    energies[0] += peak
    k, truth = data.draw(st.integers(1, len(energies))), torch.log_softmax(torch.from_numpy(energies), -1).numpy()
    listed = np.round(np.sort(truth)[::-1][:k], decimals)
    # Numbers that end in zeros do not show how many decimals were printed: then it must be said.
    assert_truth_within(bounds(listed, len(energies), rounding=0.5 * 10.0**-decimals), truth, k)
    if any(round(value, decimals - 1) != value for value in listed.tolist()):
        assert_truth_within(bounds(listed, len(energies)), truth, k)


@pytest.mark.parametrize("states", [1000, pytest.param(49_152, marks=pytest.mark.slow), 262_144])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_truth_lies_within_for_a_log_softmax_of_a_library(states, dtype):
    """PyTorch's sum in float32 over 262,144 states is off by 3e-5; one extreme peak has an entropy of 9e-7."""
    rng = np.random.default_rng(1)
    for spread, peak in ((0.3, 0.0), (2.0, 0.0), (2.0, 12.0), (2.0, 30.0), (3.0, 0.0)):
        scores = rng.normal(0, spread, states)
        scores[5] += peak
        given = torch.from_numpy(scores).to(dtype)
        truth = torch.log_softmax(given.double(), -1).numpy()
        listed = torch.log_softmax(given.float(), -1).to(dtype).sort(descending=True).values[:20]
        assert_truth_within(bounds(listed, states), truth, 20)


def test_an_extreme_peak_keeps_its_entropy_and_its_heat():
    """The values of one logit 30 above N(0, 2): S = 9.4e-7, log Z(0.1) = 7.82."""
    scores = np.random.default_rng(0).normal(0, 2, 49_152)
    scores[0] += 30
    truth = torch.log_softmax(torch.from_numpy(scores), -1).numpy()
    listed = torch.log_softmax(torch.from_numpy(scores).float(), -1).sort(descending=True).values[:20]
    seen = bounds(listed, 49_152)
    assert_truth_within(seen, truth, 20)
    assert seen.entropy.width < 1e-3 and 7.5 < seen.log_z(0.1).high < 10
    exact = bounds(np.sort(truth)[::-1][:20], 49_152)
    assert_truth_within(exact, truth, 20)
    assert exact.entropy.width < 1e-6


def test_rounding_is_checked_and_shown():
    listed = np.log(np.array([0.6, 0.2, 0.1]))
    assert (bounds(listed, 50, rounding=1e-3).rounding == 1e-3).all()
    assert bounds(np.round(listed, 4), 50).rounding == pytest.approx(0.5e-4)
    assert (bounds(listed, 50).rounding < 1e-13).all() and (bounds(listed.astype(np.float32), 50).rounding > 1e-7).all()
    for wrong in (-1.0, math.nan, math.inf, [0.1, 0.2]):
        with pytest.raises(BadInput, match="`rounding` must"):
            bounds(listed, 50, rounding=wrong)


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
