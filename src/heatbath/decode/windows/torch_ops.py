"""The operations of `cpu` on a tensor's own device, in PyTorch; they sort where the CPU uses bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.windows.masking import round_down
from heatbath.decode.windows.rounding import distance_tolerance, share_tolerance
from heatbath.ensemble.row_layout import EnergyRows
from heatbath.kernels.row_sums import LEAST_32, MOST_32, WIDEST_32

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def find_energy_range(rows: EnergyRows) -> tuple[Floats, Floats, Floats]:
    """Return status, lowest and highest finite energy, (B,) each."""
    import torch

    energies = rows.words
    finite = torch.where(torch.isinf(energies), -torch.inf, energies).amax(-1)
    lowest = energies.amin(-1)
    status = torch.where(lowest == torch.inf, 3.0, 0.0)
    status = torch.where(lowest == -torch.inf, 2.0, status)
    status = torch.where(torch.isnan(energies).any(-1), 1.0, status)
    return _to_numpy(status), _to_numpy(lowest), _to_numpy(finite)


def kth_lowest_energy(rows: EnergyRows, k: Ints) -> Floats:
    """Return the k-th lowest energy for k (B,), (B,)."""
    return np.take_along_axis(lowest_energies(rows, int(k.max())), k[:, None] - 1, axis=1)[:, 0]


def lowest_energies(rows: EnergyRows, k: int) -> Floats:
    """Return the k lowest energies in ascending order, (B, k)."""
    import torch

    return _to_numpy(torch.topk(rows.words, k, dim=-1, largest=False, sorted=True).values)


def count_and_std(rows: EnergyRows, ground: Floats) -> tuple[Floats, Floats]:
    """Return the number of present states and the standard deviation of their energies, (B,) each."""
    import torch

    energies = _widen_half(rows.words)
    present = energies < torch.inf
    heights = torch.where(present, energies - _column(ground, energies), 0.0)
    count = present.sum(-1, keepdim=True)
    away = torch.where(present, heights - heights.sum(-1, keepdim=True) / count, 0.0)
    return _to_numpy(count[:, 0]), _to_numpy((away.square().sum(-1) / count[:, 0]).sqrt())


def highest_energy_within(rows: EnergyRows, limit: Floats) -> Floats:
    """Return the highest finite energy that is at most `limit`, (B,)."""
    import torch

    energies = _widen_half(rows.words)
    within = energies <= _column(round_down(limit, energies.element_size()), energies)
    return _to_numpy(torch.where(within & (energies < torch.inf), energies, -torch.inf).amax(-1))


def find_share_band(
    rows: EnergyRows, energy_range: tuple[Floats, Floats], betas: Floats, rule: str, share: float
) -> Floats:
    """Return the lowest and highest energy to keep, and their share of the weight, (B, 3)."""
    import torch

    energies = _widen_range(rows, energy_range, betas)
    heights = energies - _column(energy_range[0], energies)
    weights = _weights(heights, betas).double()
    z = weights.sum(-1, keepdim=True)
    finite = torch.where(weights > 0, heights.double(), 0.0)
    centre = (weights * finite).sum(-1, keepdim=True) / z
    distance, order = ((heights - centre).abs() if rule == "typical" else energies.double()).sort(-1)
    sums = weights.gather(-1, order).cumsum(-1)
    error = share_tolerance(rows.words.element_size(), energy_range[0], _to_numpy(centre[:, 0]), betas)
    margin = _column(error, sums) * min(share, 1.0 - share)
    if rule == "entropy":
        beta = torch.tensor(betas, device=energies.device)[:, None]
        rate = torch.where(torch.isinf(beta), 0.0, beta)
        moments = (weights * finite).gather(-1, order).cumsum(-1)
        inside = sums.log() + rate * moments / sums <= (share + margin) * (z.log() + rate * centre)
        last = inside.sum(-1, keepdim=True).clamp(min=1) - 1
    else:
        inside = sums < (share - margin) * z
        last = inside.sum(-1, keepdim=True).clamp(max=energies.shape[-1] - 1)
    edge = distance.gather(-1, last)
    kept = torch.where(distance <= edge, weights.gather(-1, order), 0.0).sum(-1) / z[:, 0]
    bands = [_to_numpy(values) for values in (edge[:, 0], centre[:, 0], kept)]
    return _build_bands(rule, bands, (rows.words.element_size(), energy_range[0]), betas)


def _build_bands(rule: str, quantities: list[Floats], scale: tuple[int, Floats], betas: Floats) -> Floats:
    """Return (B, 3) from the last distance to keep, the centre and the kept mass; at T = 0 the ground states."""
    (reach, centre, kept), (width, ground) = quantities, scale
    mass = np.minimum(kept, 1.0)
    low, high = np.full(len(ground), -np.inf), reach
    if rule == "typical":
        middle = ground + centre
        tolerance = distance_tolerance(width, ground, centre, reach)
        low, high = middle - reach - tolerance, middle + reach + tolerance
    frozen = np.isinf(betas)
    columns = [np.where(frozen, ground, low), np.where(frozen, ground, high), np.where(frozen, 1.0, mass)]
    return np.stack(columns, axis=1)


def band_mass(
    rows: EnergyRows, energy_range: tuple[Floats, Floats], betas: Floats, low: Floats, high: Floats
) -> Floats:
    """Return the share of the weight between two energies, (B,)."""
    import torch

    energies = _widen_range(rows, energy_range, betas)
    weights = _weights(energies - _column(energy_range[0], energies), betas)
    kept = torch.where(_inside_band(energies, low, high), weights, 0.0)
    return _to_numpy(kept.double().sum(-1) / weights.double().sum(-1))


def apply_band(rows: EnergyRows, low: Floats, high: Floats) -> Any:
    """Return the energies with +inf outside the band, in their own type and shape."""
    import torch

    return torch.where(_inside_band(_widen_half(rows.words), low, high), rows.words, torch.inf).reshape(rows.like.shape)


def _inside_band(energies: Any, low: Floats, high: Floats) -> Any:
    width = energies.element_size()
    lowest, highest = -round_down(-low, width), round_down(high, width)
    return (energies >= _column(lowest, energies)) & (energies <= _column(highest, energies))


def _weights(heights: Any, betas: Floats) -> Any:
    """Return exp(-beta d): 1 at the ground for every beta, 0 for an absent state."""
    import torch

    exponent = _column(betas, heights) * heights
    exponent = torch.where(heights == 0, 0.0, torch.where(torch.isinf(heights), torch.inf, exponent))
    return torch.exp(-exponent)


def _widen_half(energies: Any) -> Any:
    return energies.float() if energies.element_size() < 4 else energies


def _widen_range(rows: EnergyRows, energy_range: tuple[Floats, Floats], betas: Floats) -> Any:
    """Return the energies in float32, or in float64 where float32 could overflow."""
    energies, (low, high) = _widen_half(rows.words), energy_range
    is_safe = (high - low < WIDEST_32) & ((betas == 0) | ((betas > LEAST_32) & (betas < MOST_32)) | np.isinf(betas))
    return energies if is_safe.all() else energies.double()


def _column(values: npt.NDArray[Any], like: Any) -> Any:
    import torch

    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


def _to_numpy(values: Any) -> Floats:
    return np.asarray(values.double().cpu().numpy())
