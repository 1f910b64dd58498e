"""Borders, ties and rounding: one rule for all windows, in every gauge, in float32 and float64, on both backends."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import heatbath as hb
from heatbath.decode import windows
from heatbath.decode.windows import row_statistics, torch_ops
from heatbath.ensemble.row_layout import EnergyRows

few = settings(max_examples=25)


@pytest.fixture(params=["host", "device"], autouse=True)
def backend(request, monkeypatch):
    """Both backends; torch's runs on tensors of the CPU."""
    if request.param == "device":
        original = row_statistics.as_rows
        sums = row_statistics.RowStatistics.sums.func
        monkeypatch.setattr(row_statistics, "as_rows", _as_tensor_rows)
        monkeypatch.setattr(row_statistics.RowStatistics, "_backend", property(lambda self: torch_ops))
        on_host = lambda seen: sums(row_statistics.RowStatistics(original(seen.rows.like), seen.betas))  # noqa: E731
        monkeypatch.setattr(row_statistics.RowStatistics, "sums", property(on_host))
    return request.param


def _as_tensor_rows(energies):
    tensor = energies if isinstance(energies, torch.Tensor) else torch.tensor(energies)
    return EnergyRows(tensor, tuple(tensor.shape[:-1]), tensor)


def keep(window, energies, beta):
    """The states of one row that stay, and the mass that is reported; with several betas one row for each."""
    at = np.atleast_1d(beta)
    out = windows.apply_window(window, energies[None].repeat(len(at), 0), at, np.full(len(at), 0.5))
    inside = np.isfinite(torch.as_tensor(out.energies).double().numpy())
    assert inside.any(-1).all()
    return (inside, out.kept_mass) if np.ndim(beta) else (inside[0], out.kept_mass[0])


# ---- exact borders: probabilities that are ratios of whole numbers, decided in whole numbers

counts = st.lists(st.integers(1, 30), min_size=2, max_size=7)
gauges = st.sampled_from([0.0, 1.0, -7.3, 50.0, -300.0])
formats = st.sampled_from([np.float32, np.float64])


def row(numbers, gauge, dtype, beta=1.0):
    return (-np.log(np.asarray(numbers, float)) / beta + gauge).astype(dtype)


def check(window, numbers, stay, gauge, dtype, beta=1.0):
    inside, mass = keep(window, row(numbers, gauge, dtype, beta), beta)
    assert inside.tolist() == list(stay)
    assert mass == pytest.approx(sum(np.extract(stay, numbers)) / sum(numbers), abs=1e-3)


@few
@given(counts, st.data(), gauges, formats, st.sampled_from([1.0, 0.5, 3.0]))
def test_a_state_at_the_threshold_is_kept(numbers, data, gauge, dtype, beta):
    border, total = data.draw(st.sampled_from(numbers)), sum(numbers)
    stay = [c >= border for c in numbers]
    check(windows.min_p(border / max(numbers)), numbers, stay, gauge, dtype, beta)
    check(windows.epsilon(border / total), numbers, stay, gauge, dtype, beta)
    check(windows.max_surprisal(np.full(1, -np.log(border / total))), numbers, stay, gauge, dtype, beta)
    above = min(c for c in numbers if c >= border)
    check(windows.exclude_top_choices(border / total, 1.0), numbers, [c <= above for c in numbers], gauge, dtype, beta)
    p = np.asarray(numbers) / total
    eps = (border / total) ** 2 * np.exp(2 * -(p * np.log(p)).sum())
    if eps < 1 and np.sqrt(eps) * np.exp((p * np.log(p)).sum()) <= eps:
        check(windows.eta(eps), numbers, stay, gauge, dtype, beta)


@few
@given(counts, st.data(), gauges, formats)
def test_a_share_that_is_reached_exactly_ends_the_window(numbers, data, gauge, dtype):
    border, total = data.draw(st.sampled_from(numbers)), sum(numbers)
    stay = [c >= border for c in numbers]
    assume(not all(stay))
    check(windows.top_p(sum(c for c in numbers if c >= border) / total), numbers, stay, gauge, dtype)
    p = np.asarray(numbers) / total
    part = np.extract(stay, p) / np.extract(stay, p).sum()
    share = (part * np.log(part)).sum() / (p * np.log(p)).sum()
    if 0 < share < 1:
        check(windows.top_h(share), numbers, stay, gauge, dtype)


@few
@given(counts, st.data(), gauges.filter(lambda c: abs(c) <= 50), formats)
def test_typical_at_an_exact_share(numbers, data, gauge, dtype):
    p = np.asarray(numbers) / sum(numbers)
    away = np.abs(-np.log(p) + (p * np.log(p)).sum())
    gaps = np.diff(np.sort(away))
    assume(((gaps < 1e-12) | (gaps > 1e-3)).all())
    border = away[data.draw(st.integers(0, len(numbers) - 1))]
    stay = away <= border + 1e-9
    assume(not stay.all())
    share = Fraction(int(sum(np.extract(stay, numbers))), sum(numbers))
    check(windows.typical(float(share)), numbers, stay, gauge, dtype)


@few
@given(st.integers(1, 40), gauges, formats)
def test_equal_states_stay_in_all_windows(size, gauge, dtype):
    chosen = [windows.p_less(), windows.p_less_norm(), windows.top_n_sigma(1.0), windows.top_p(0.01)]
    chosen += [windows.typical(0.01), windows.top_h(0.01), windows.min_p(1.0), windows.top_k(1), windows.eta(0.5)]
    for window in chosen:
        inside, mass = keep(window, row([3] * size, gauge, dtype), np.array([0.0, 0.3, 1.0, 40.0, np.inf]))
        assert inside.all() and mass == pytest.approx(1.0)


@pytest.mark.parametrize("gauge", [0.0, 1.0, -7.3, 50.0, -300.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_borders_of_the_windows_without_a_number(gauge, dtype):
    # 1/3 is the sum of the squares of 1/2 and of 1/6 three times; of 1/3 twice and of 1/9 three times it is 7/27.
    numbers, purity = [6, 2, 2, 2], Fraction(48, 144)
    assert purity == Fraction(1, 3)
    check(windows.p_less(), numbers, [True, False, False, False], gauge, dtype)
    check(windows.p_less(), [4, 2, 1, 1, 0.5, 0.5, 1], [True, False, False, False, False, False, False], gauge, dtype)
    at_border = [10, 6, 2, 2]  # 144/400 = .36 > 6/20: one state; (4 * .36 - 1) / 3 = .1467: the first two
    check(windows.p_less_norm(), at_border, [True, True, False, False], gauge, dtype)
    spread = np.asarray([0.0, 1.0, 2.0, 3.0])
    for rank in (1, 2):
        window = windows.top_n_sigma(rank / spread.std())
        assert keep(window, (spread + gauge).astype(dtype), 1.0)[0].sum() == rank + 1


# ---- any row

numbers_32 = st.floats(-60, 60, width=32) | st.sampled_from([0.0, 1e-8, 0.25, 1e30, -1e30, np.inf])
rows = arrays(np.float32, st.integers(1, 8), elements=numbers_32).filter(lambda e: np.isfinite(e).any())
betas = st.sampled_from([0.0, 1e-3, 0.4, 1.0, 7.0, 1e5, np.inf])
ALL = [
    windows.top_k(2),
    windows.top_p(0.03),
    windows.top_p(0.8),
    windows.min_p(0.2),
    windows.typical(0.05),
    windows.typical(0.7),
    windows.epsilon(0.1),
    windows.eta(0.3),
    windows.top_n_sigma(0.7),
    windows.p_less(),
    windows.p_less_norm(),
    windows.top_h(0.3),
    windows.exclude_top_choices(0.1, 0.6),
    windows.max_surprisal(np.full(1, 1.3)),
    windows.zipf_top_k(np.full(1, 1.3)),
]


def law(energies, beta):
    height = energies.astype(float) - energies.astype(float).min()
    if np.isinf(beta):
        weight = (height == 0).astype(float)
    else:
        weight = np.where(np.isfinite(height), np.exp(-beta * np.where(np.isfinite(height), height, 0.0)), 0.0)
    return weight / weight.sum()


@few
@given(rows, betas, formats)
def test_a_state_is_kept_and_the_mass_is_that_of_the_kept_states(energies, beta, dtype):
    p = law(energies, beta)
    for window in ALL:
        inside, mass = keep(window, energies.astype(dtype), beta)
        assert not inside[np.isinf(energies)].any()
        # The tail of weights that float32 cannot hold has less than 1e-30 of the mass.
        assert mass == pytest.approx(p[inside].sum(), abs=2e-6)
        if "typical" not in window.label and "exclude" not in window.label:
            assert inside[energies == energies.min()].all()


@pytest.mark.parametrize("dtype", [pytest.param(torch.float16, marks=pytest.mark.slow), torch.bfloat16])
def test_half_precision_is_taken_as_the_numbers_that_it_holds(dtype):
    energies = torch.from_numpy(np.random.default_rng(0).normal(0, 3, (20, 50))).to(dtype)
    # One window of each kind: the kernels of each kind are compiled for these numbers.
    for window in (windows.min_p(0.05), windows.top_p(0.9), windows.typical(0.9)):
        half = window(energies, np.ones(20), np.full(20, 0.5))
        assert torch.equal(half.float(), torch.as_tensor(window(energies.float(), np.ones(20), np.full(20, 0.5))))


SMALL = [
    ([-0.3, -0.0003, 0.0003, 0.51], 0.2, np.float64),
    ([-0.016, -0.152, 0.207], 0.05, np.float64),
    ([-0.016, -0.152, 0.207], 0.05, np.float32),
]


@pytest.mark.parametrize(("values", "share", "dtype"), SMALL)
@pytest.mark.parametrize("gauge", [0.0, 0.1, -3.0, 17.0, 1e4])
def test_typical_keeps_the_state_nearest_to_the_mean(values, share, dtype, gauge):
    energies = np.asarray(values)
    p = law(energies, 1.0)
    nearest = np.argmin(np.abs(energies - p @ energies))
    inside, mass = keep(windows.typical(share), (energies + gauge).astype(dtype), 1.0)
    expected = np.arange(len(values)) == nearest if gauge < 1e4 or dtype == np.float64 else inside | True
    assert inside[nearest] and (inside <= expected).all()
    assert mass == pytest.approx(p[inside].sum(), abs=1e-3)


def test_a_narrow_typical_window_never_empties_a_row_of_a_chain():
    """The chain has twelve rows, all of which its runs meet."""
    model = hb.MarkovModel.random(seed=1, size=12, scale=0.3)
    rows_of_chain = model.open([[token] for token in range(12)]).energies()
    for share in (0.001, 0.05, 0.3):
        assert (np.isfinite(np.asarray(windows.typical(share)(rows_of_chain, np.ones(12)))).sum(-1) >= 1).all()
    out = hb.generate(model, [[0]] * 30, typical=0.05, max_tokens=8, seed=0, record=None)
    assert [len(tokens) for tokens in out.sequences] == [8] * 30
