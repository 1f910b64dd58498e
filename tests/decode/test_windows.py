"""Windows against their definitions in probabilities, written out state by state."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heatbath.decode import min_p, top_k, top_p
from heatbath.decode.windows import mask_energies
from heatbath.errors import BadInput
from heatbath.models.exact.base import log_probabilities

# Steps of 1/4 make ties likely and keep differences exact.
energies = arrays(float, (3, 6), elements=st.integers(-20, 20).map(lambda n: n / 4) | st.just(np.inf)).filter(
    lambda e: np.isfinite(e).any(-1).all()
)
betas = st.sampled_from([0.0, 0.25, 1.0, 4.0, np.inf])


def kept(window, values, beta):
    cut = window(values, np.full(len(values), beta))
    inside = np.isfinite(cut)
    assert (cut[inside] == values[inside]).all() and np.isinf(cut[~inside]).all()
    return inside


@given(energies, betas, st.integers(1, 7))
def test_top_k_keeps_what_has_fewer_than_k_below_it(values, beta, k):
    below = (values[:, None, :] < values[:, :, None]).sum(-1)
    assert (kept(top_k(k), values, beta) == ((below < k) & np.isfinite(values))).all()


@given(energies, betas, st.sampled_from([1e-6, 0.1, 0.37, 0.62, 0.93, 1.0]))
def test_top_p_keeps_what_has_less_than_p_below_it(values, beta, p):
    probability = np.exp(log_probabilities(values, beta))
    for row, inside in enumerate(kept(top_p(p), values, beta)):
        mass_below = np.array([probability[row][values[row] < energy].sum() for energy in values[row]])
        clear = np.abs(mass_below - p) > 1e-9
        expected = (mass_below < p) & np.isfinite(values[row])
        assert (inside == expected)[clear].all()


@given(energies, betas, st.sampled_from([0.0, 0.03, 0.41, 1.0]))
def test_min_p_keeps_what_is_at_least_p_times_the_best(values, beta, p):
    probability = np.exp(log_probabilities(values, beta))
    ratio = probability / probability.max(-1, keepdims=True)
    clear = np.abs(ratio - p) > 1e-9
    expected = (ratio >= p) & np.isfinite(values)
    inside = kept(min_p(p), values, beta)
    assert (inside == expected)[clear & (p > 0)].all()
    assert p > 0 or (inside == np.isfinite(values)).all()
    assert inside[values == values.min(-1, keepdims=True)].all()


def test_ties_at_the_border_stay_together():
    values = np.array([[0.0, 1.0, 1.0, 1.0, 2.0]])
    assert kept(top_k(2), values, 1.0).tolist() == [[True, True, True, True, False]]
    assert kept(top_p(0.6), values, 1.0).tolist() == [[True, True, True, True, False]]


@pytest.mark.parametrize("window", [top_k(1), top_p(0.1), min_p(1.0)])
def test_the_ground_states_always_stay(window):
    assert kept(window, np.array([[3.0, 1.0, 1.0]]), np.inf).tolist() == [[False, True, True]]


def test_windows_follow_the_temperature():
    values = np.array([[0.0, 1.0, 2.0]])
    assert kept(min_p(0.3), values, 1.0).sum() == 2 and kept(min_p(0.3), values, 0.5).sum() == 3
    assert kept(top_p(0.9), values, 4.0).sum() == 1 and kept(top_p(0.9), values, 0.1).sum() == 3


def test_one_after_another():
    values = np.array([[0.0, 0.1, 0.2, 5.0]])
    cut = mask_energies([top_k(3), top_p(0.5)], values, np.ones(1))
    assert np.isfinite(cut).tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_tensors_keep_library_and_type(dtype):
    values = torch.tensor([[0.0, 1.25, 3.0], [2.0, 0.5, 0.5]], dtype=dtype)
    cut = top_k(2)(values, np.ones(2))
    assert cut.dtype == dtype
    assert torch.equal(cut, torch.tensor([[0.0, 1.25, np.inf], [np.inf, 0.5, 0.5]], dtype=dtype))


@pytest.mark.parametrize(("make", "value"), [(top_k, 0), (top_p, 0.0), (top_p, 1.1), (min_p, -0.1), (min_p, np.nan)])
def test_settings_out_of_range_are_refused(make, value):
    with pytest.raises(BadInput, match="must|pass"):
        make(value)
