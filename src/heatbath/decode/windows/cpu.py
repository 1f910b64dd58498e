"""Window operations on the CPU: compiled kernels over rows of words, run on several threads; results in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.windows import masking, order_statistics, weight_quantile
from heatbath.decode.windows.masking import round_down
from heatbath.ensemble.row_layout import EnergyRows
from heatbath.kernels.thread_pool import share_rows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
RULE_CODES = {"mass": weight_quantile.MASS, "typical": weight_quantile.TYPICAL, "entropy": weight_quantile.ENTROPY}


def find_energy_range(rows: EnergyRows) -> tuple[Floats, Floats, Floats]:
    """Return status, lowest and highest finite energy, (B,) each."""
    out = np.empty((rows.num_rows, 3))
    share_rows(masking.fill_energy_range, rows.num_rows, rows.words.size, rows.words, out)
    return out[:, 0], out[:, 1].copy(), out[:, 2].copy()


def kth_lowest_energy(rows: EnergyRows, k: Ints) -> Floats:
    """Return the k-th lowest energy for k (B,), (B,)."""
    out = np.empty(rows.num_rows)
    share_rows(order_statistics.fill_kth_lowest, rows.num_rows, 2 * rows.words.size, rows.words, k, out)
    return out


def lowest_energies(rows: EnergyRows, k: int) -> Floats:
    """Return the k lowest energies in ascending order, (B, k)."""
    out = np.empty((rows.num_rows, k))
    share_rows(order_statistics.fill_lowest, rows.num_rows, 2 * rows.words.size, rows.words, out)
    return out


def count_and_std(rows: EnergyRows, ground: Floats) -> tuple[Floats, Floats]:
    """Return the number of present states and the standard deviation of their energies, (B,) each."""
    out = np.empty((rows.num_rows, 2))
    share_rows(order_statistics.fill_count_and_std, rows.num_rows, rows.words.size, rows.words, ground, out)
    return out[:, 0], out[:, 1]


def highest_energy_within(rows: EnergyRows, limit: Floats) -> Floats:
    """Return the highest finite energy that is at most `limit`, (B,)."""
    out = np.empty(rows.num_rows)
    share_rows(
        order_statistics.fill_highest_within,
        rows.num_rows,
        rows.words.size,
        rows.words,
        round_down(limit, rows.words.itemsize),
        out,
    )
    return out


def find_share_band(
    rows: EnergyRows, energy_range: tuple[Floats, Floats], betas: Floats, rule: str, share: float
) -> Floats:
    """Return the lowest and highest energy to keep, and their share of the weight, (B, 3)."""
    out = np.empty((rows.num_rows, 3))
    wide = rows.words.itemsize == 8
    edges = np.stack(energy_range, axis=1)
    share_rows(
        weight_quantile.fill_share_bands,
        rows.num_rows,
        8 * rows.words.size,
        rows.words,
        edges,
        betas,
        RULE_CODES[rule],
        share,
        wide,
        out,
    )
    return out


def band_mass(
    rows: EnergyRows, energy_range: tuple[Floats, Floats], betas: Floats, low: Floats, high: Floats
) -> Floats:
    """Return the share of the weight between two energies, (B,)."""
    out = np.empty(rows.num_rows)
    words, edges = rows.words, np.stack(energy_range, axis=1)
    band = _round_band(low, high, words)
    share_rows(
        masking.fill_band_mass, rows.num_rows, 4 * words.size, words, band, betas, words.itemsize == 8, edges, out
    )
    return out


def apply_band(rows: EnergyRows, low: Floats, high: Floats) -> Any:
    """Return the energies with +inf outside the band, in their own library, type and shape."""
    words = rows.words
    out = np.empty_like(words)
    share_rows(masking.fill_masked, rows.num_rows, words.size, words, _round_band(low, high, words), out)
    return _restore_layout(out, rows)


def _restore_layout(words: npt.NDArray[Any], rows: EnergyRows) -> Any:
    like = rows.like
    if isinstance(like, np.ndarray):
        return words.view(like.dtype.newbyteorder("=")).reshape(like.shape)
    import torch

    signed = words.view({2: np.int16, 4: np.int32, 8: np.int64}[words.itemsize])
    return torch.from_numpy(signed).view(like.dtype).reshape(like.shape).to(like.device)


def _round_band(low: Floats, high: Floats, words: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.stack([-round_down(-low, words.itemsize), round_down(high, words.itemsize)], axis=1)
