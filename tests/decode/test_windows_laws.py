"""Every window against its definition, written out state by state in float64, on the CPU's kernels and on torch's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from heatbath.decode import windows
from heatbath.decode.windows import row_statistics, torch_ops
from heatbath.ensemble.row_layout import EnergyRows
from heatbath.models.exact.base import log_probabilities

# Steps of 1/4 make ties likely and keep differences exact.
energies = arrays(float, (3, 7), elements=st.integers(-20, 20).map(lambda n: n / 4) | st.just(np.inf)).filter(
    lambda e: np.isfinite(e).any(-1).all()
)
betas = st.sampled_from([0.0, 0.25, 1.0, 4.0, np.inf])
shares = st.sampled_from([0.03, 0.21, 0.37, 0.62, 0.93])
EDGE = 1e-9


@pytest.fixture(params=["host", "device"], autouse=True)
def backend(request, monkeypatch):
    """Both backends; torch's runs on float64 tensors of the CPU."""
    if request.param == "device":
        monkeypatch.setattr(row_statistics, "as_rows", _as_tensor)
        monkeypatch.setattr(row_statistics.RowStatistics, "_backend", property(lambda self: torch_ops))
        monkeypatch.setattr(row_statistics.RowStatistics, "sums", property(_sums))
    return request.param


def _as_tensor(given):
    tensor = torch.tensor(given)
    return EnergyRows(tensor, tuple(tensor.shape[:-1]), tensor)


def _sums(seen):
    return np.asarray(row_statistics.reductions.sums(spectrum_rows(seen.rows.like), seen.betas[:, None])[1:, 0])


def spectrum_rows(like):
    from heatbath.ensemble.row_layout import as_rows

    return as_rows(like)


def kept(window, values, beta, uniform=None):
    """What stays, (B, V); that the rest is +inf and the kept mass right is checked on the way."""
    out = windows.apply_window(window, values, np.full(len(values), beta), uniform)
    left = np.asarray(out.energies)
    inside = np.isfinite(left)
    assert (left[inside] == values[inside]).all() and np.isposinf(left[~inside]).all()
    mass = np.where(inside, np.exp(log_probabilities(values, beta)), 0.0).sum(-1)
    assert out.kept_mass == pytest.approx(mass, abs=1e-9)
    alone = np.asarray(window(values, np.full(len(values), beta), uniform))
    assert np.array_equal(alone, left)
    return inside


def agrees(inside, wanted, sure=True):
    assert ((inside == wanted) | ~np.broadcast_to(sure, inside.shape)).all()


def entropy_of(values, beta):
    p = np.exp(log_probabilities(values, beta))
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(-1)


@given(energies, betas, st.integers(1, 8))
def test_top_k(values, beta, k):
    below = (values[:, None, :] < values[:, :, None]).sum(-1)
    agrees(kept(windows.top_k(k), values, beta), (below < k) & np.isfinite(values))


@given(energies, betas, shares)
def test_top_p(values, beta, p):
    law = np.exp(log_probabilities(values, beta))
    below = np.where(values[:, None, :] < values[:, :, None], law[:, None, :], 0.0).sum(-1)
    frozen = np.isinf(beta) & (values > values.min(-1, keepdims=True))
    agrees(kept(windows.top_p(p), values, beta), (below < p) & np.isfinite(values) & ~frozen, np.abs(below - p) > EDGE)


@given(energies, betas, shares)
def test_typical(values, beta, mass):
    law = np.exp(log_probabilities(values, beta))
    present = np.isfinite(values)
    mean = np.where(present, law * np.where(present, values, 0.0), 0.0).sum(-1, keepdims=True)
    away = np.abs(values - mean)
    nearer = np.where(away[:, None, :] < away[:, :, None] - EDGE, law[:, None, :], 0.0).sum(-1)
    border = np.abs(nearer - mass) <= EDGE
    wanted = (nearer < mass) & present & (law > 0 if np.isinf(beta) else True)
    agrees(kept(windows.typical(mass), values, beta), wanted, ~border)


@given(energies, betas, shares)
def test_top_h(values, beta, h):
    inside = kept(windows.top_h(h), values, beta)
    for row, keeps in zip(values, inside, strict=True):
        order = np.sort(row[np.isfinite(row)])
        if np.isinf(beta):
            order = order[order == order[0]]
        sets = [entropy_of(order[None, :n], beta)[0] for n in range(1, len(order) + 1)]
        bound = h * sets[-1]
        if min(abs(s - bound) for s in [*sets[1:], np.inf]) > 1e-6 * sets[-1]:
            last = max(n for n, s in enumerate(sets) if s <= bound)
            assert (keeps == (row <= order[last])).all()


@given(energies, betas, st.sampled_from([0.0, 0.03, 0.41, 1.0]))
def test_min_p(values, beta, p):
    law = np.exp(log_probabilities(values, beta))
    ratio = law / law.max(-1, keepdims=True)
    sure = (np.abs(ratio - p) > EDGE) | (ratio == 1.0)
    agrees(kept(windows.min_p(p), values, beta), (ratio >= p) & np.isfinite(values), sure)


def above(values, beta, threshold):
    """States of probability `threshold` and more, and the ground states; at beta = 0, as for a very small beta."""
    law = np.exp(log_probabilities(values, beta))
    wanted = (law >= threshold) | (values == values.min(-1, keepdims=True))
    if beta == 0:
        all_in = law.max(-1, keepdims=True) >= threshold
        wanted = np.where(all_in, np.isfinite(values), values == values.min(-1, keepdims=True))
    return wanted & np.isfinite(values), np.abs(law / threshold - 1) > EDGE


@given(energies, betas, shares)
def test_epsilon(values, beta, eps):
    agrees(kept(windows.epsilon(eps), values, beta), *above(values, beta, eps))


@given(energies, betas, shares)
def test_eta(values, beta, eps):
    threshold = np.minimum(eps, np.sqrt(eps) * np.exp(-entropy_of(values, beta)))[:, None]
    agrees(kept(windows.eta(eps), values, beta), *above(values, beta, threshold))


@given(energies, betas)
def test_p_less(values, beta):
    law = np.exp(log_probabilities(values, beta))
    purity = (law**2).sum(-1, keepdims=True)
    wanted, sure = above(values, beta, purity * (1 - EDGE))
    agrees(kept(windows.p_less(), values, beta), wanted, sure | (np.abs(law / purity - 1) > 2 * EDGE))
    count = np.isfinite(values).sum(-1, keepdims=True)
    relaxed = np.where(count > 1, (count * purity - 1) / np.maximum(count - 1, 1), 0.0)
    wanted, sure = above(values, beta, np.maximum(relaxed, 1e-300))
    flat = np.abs(relaxed) < EDGE
    agrees(kept(windows.p_less_norm(), values, beta), wanted, (sure & (np.abs(law - relaxed) > EDGE)) | flat)


@given(energies, betas, st.sampled_from([0.0, 0.3, 1.0, 2.5]))
def test_top_n_sigma(values, beta, n):
    for row, keeps in zip(values, kept(windows.top_n_sigma(n), values, beta), strict=True):
        reach = n * row[np.isfinite(row)].std()
        excess = row - row.min()
        agrees(keeps, excess <= reach, (np.abs(excess - reach) > EDGE) | (excess == 0))


@given(energies, betas, st.sampled_from([0.03, 0.11, 0.21, 0.37]), st.sampled_from([0.0, 0.29, 0.3, 0.9]))
def test_exclude_top_choices(values, beta, threshold, uniform):
    window = windows.exclude_top_choices(threshold, 0.3)
    inside = kept(window, values, beta, np.full(len(values), uniform))
    law = np.exp(log_probabilities(values, beta))
    for row, p, keeps in zip(values, law, inside, strict=True):
        if np.abs(p - threshold).min() > EDGE:
            high = row[(p >= threshold) & np.isfinite(row)]
            low = high.max() if uniform < 0.3 and len(high) else -np.inf
            assert (keeps == ((row >= low) & np.isfinite(row))).all()


@given(energies, betas, st.sampled_from([0.1, 0.7, 1.9, 4.0]))
def test_surprise_at_most(values, beta, limit):
    window = windows.max_surprisal(np.full(len(values), limit))
    agrees(kept(window, values, beta), *above(values, beta, np.exp(-limit)))


ALWAYS = [windows.top_k(1), windows.top_p(0.01), windows.min_p(1.0), windows.top_h(0.01), windows.epsilon(0.99)]
ALWAYS += [windows.eta(0.99), windows.p_less(), windows.top_n_sigma(0.0)]


@given(energies, betas)
def test_the_ground_states_stay_in_all_windows_that_begin_at_the_ground(values, beta):
    for window in ALWAYS:
        assert kept(window, values, beta)[values == values.min(-1, keepdims=True)].all()


@given(energies, betas, st.integers(-8, 8))
def test_a_new_zero_of_energy_changes_nothing(values, beta, shift):
    uniform = np.full(len(values), 0.1)
    for window in (
        windows.top_p(0.62),
        windows.typical(0.62),
        windows.top_h(0.37),
        windows.exclude_top_choices(0.2, 1),
    ):
        assert (kept(window, values, beta, uniform) == kept(window, values + shift, beta, uniform)).all()
