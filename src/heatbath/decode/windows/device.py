"""The same on a tensor's own device, in torch's operations: a sort where the CPU bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.windows.weights import NARROW_ERROR, WIDE_ERROR
from heatbath.ensemble.rows import Rows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def edges(rows: Rows) -> tuple[Floats, Floats, Floats]:
    """Status, lowest and highest finite energy, (B,) each."""
    import torch

    energies = rows.words
    finite = torch.where(torch.isinf(energies), -torch.inf, energies).amax(-1)
    lowest = energies.amin(-1)
    status = torch.where(lowest == torch.inf, 3.0, 0.0)
    status = torch.where(lowest == -torch.inf, 2.0, status)
    status = torch.where(torch.isnan(energies).any(-1), 1.0, status)
    return _numpy(status), _numpy(lowest), _numpy(finite)


def kth(rows: Rows, k: Ints) -> Floats:
    """The k-th lowest energy for k (B,), (B,)."""
    return np.take_along_axis(lowest(rows, int(k.max())), k[:, None] - 1, axis=1)[:, 0]


def lowest(rows: Rows, k: int) -> Floats:
    """The k lowest energies in order, (B, k)."""
    import torch

    return _numpy(torch.topk(rows.words, k, dim=-1, largest=False, sorted=True).values)


def spread(rows: Rows, ground: Floats) -> tuple[Floats, Floats]:
    """Number of present states and the standard deviation of their energies, (B,) each."""
    import torch

    energies = _wide(rows.words)
    present = energies < torch.inf
    heights = torch.where(present, energies - _column(ground, energies), 0.0)
    count = present.sum(-1, keepdim=True)
    away = torch.where(present, heights - heights.sum(-1, keepdim=True) / count, 0.0)
    return _numpy(count[:, 0]), _numpy((away.square().sum(-1) / count[:, 0]).sqrt())


def highest_within(rows: Rows, limit: Floats) -> Floats:
    """The highest finite energy no more than `limit`, (B,)."""
    import torch

    energies = _wide(rows.words)
    good = (energies <= _column(_floor(limit, energies), energies)) & (energies < torch.inf)
    return _numpy(torch.where(good, energies, -torch.inf).amax(-1))


def crossing(rows: Rows, ends: tuple[Floats, Floats], betas: Floats, rule: str, share: float) -> Floats:
    """Lowest and highest energy that stay, and their share of the weight, (B, 3)."""
    import torch

    energies = _wide(rows.words)
    heights = energies - _column(ends[0], energies)
    weights = _weights(heights, betas).double()
    z = weights.sum(-1, keepdim=True)
    finite = torch.where(weights > 0, heights.double(), 0.0)
    centre = (weights * finite).sum(-1, keepdim=True) / z
    distance, order = ((heights - centre).abs() if rule == "typical" else energies.double()).sort(-1)
    sums = weights.gather(-1, order).cumsum(-1)
    error = WIDE_ERROR if energies.dtype == torch.float64 else NARROW_ERROR
    if rule == "entropy":
        beta = torch.tensor(betas, device=energies.device)[:, None]
        rate = torch.where(torch.isinf(beta), 0.0, beta)
        moments = (weights * finite).gather(-1, order).cumsum(-1)
        inside = sums.log() + rate * moments / sums <= (share + error) * (z.log() + rate * centre)
        last = inside.sum(-1, keepdim=True).clamp(min=1) - 1
    else:
        inside = sums < (share - error * min(share, 1.0 - share)) * z
        last = inside.sum(-1, keepdim=True).clamp(max=energies.shape[-1] - 1)
    edge = distance.gather(-1, last)
    kept = torch.where(distance <= edge, weights.gather(-1, order), 0.0).sum(-1) / z[:, 0]
    return _bands(rule, (edge[:, 0], centre[:, 0], kept), ends[0], betas)


def _bands(rule: str, found: tuple[Any, Any, Any], ground: Floats, betas: Floats) -> Floats:
    reach, centre, kept = (_numpy(values) for values in found)
    mass = np.minimum(kept, 1.0)
    low, high = np.full(len(ground), -np.inf), reach
    if rule == "typical":
        middle = ground + centre
        slack = 8.9e-16 * np.maximum(np.abs(middle), reach)
        low, high = middle - reach - slack, middle + reach + slack
    frozen = np.isinf(betas)
    columns = [np.where(frozen, ground, low), np.where(frozen, ground, high), np.where(frozen, 1.0, mass)]
    return np.stack(columns, axis=1)


def masses(rows: Rows, ends: tuple[Floats, Floats], betas: Floats, low: Floats, high: Floats) -> Floats:
    """The share of the weight between two energies, (B,)."""
    import torch

    energies = _wide(rows.words)
    weights = _weights(energies - _column(ends[0], energies), betas)
    kept = torch.where(_inside(energies, low, high), weights, 0.0)
    return _numpy(kept.double().sum(-1) / weights.double().sum(-1))


def cut(rows: Rows, low: Floats, high: Floats) -> Any:
    """The energies with +inf outside the band, in the type and shape they came in."""
    import torch

    return torch.where(_inside(_wide(rows.words), low, high), rows.words, torch.inf).reshape(rows.like.shape)


def _inside(energies: Any, low: Floats, high: Floats) -> Any:
    lowest, highest = -_floor(-low, energies), _floor(high, energies)
    return (energies >= _column(lowest, energies)) & (energies <= _column(highest, energies))


def _weights(heights: Any, betas: Floats) -> Any:
    """exp(-beta d): 1 at the ground for every beta, 0 for an absent state."""
    import torch

    exponent = _column(betas, heights) * heights
    exponent = torch.where(heights == 0, 0.0, torch.where(torch.isinf(heights), torch.inf, exponent))
    return torch.exp(-exponent)


def _wide(energies: Any) -> Any:
    return energies.float() if energies.element_size() < 4 else energies


def _column(values: npt.NDArray[Any], like: Any) -> Any:
    import torch

    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


def _floor(limit: Floats, like: Any) -> npt.NDArray[Any]:
    """The highest number of the tensor's own width that is no more than the limit."""
    if like.element_size() == 8:
        return limit
    with np.errstate(over="ignore"):
        near = limit.astype(np.float32)
    return np.where(near > limit, np.nextafter(near, np.float32(-np.inf)), near)


def _numpy(values: Any) -> Floats:
    return np.asarray(values.double().cpu().numpy())
