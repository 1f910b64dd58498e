"""The kernels on the CPU: rows as words, shared among threads; results in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from heatbath.decode.windows import masking, ranks, weights
from heatbath.ensemble.kernels.jit import share_rows
from heatbath.ensemble.rows import Rows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
RULES = {"mass": weights.MASS, "typical": weights.TYPICAL, "entropy": weights.ENTROPY}


def edges(rows: Rows) -> tuple[Floats, Floats, Floats]:
    """Status, lowest and highest finite energy, (B,) each."""
    out = np.empty((rows.count, 3))
    share_rows(masking.grounds, rows.count, rows.words.size, rows.words, out)
    return out[:, 0], out[:, 1].copy(), out[:, 2].copy()


def kth(rows: Rows, k: Ints) -> Floats:
    """The k-th lowest energy for k (B,), (B,)."""
    out = np.empty(rows.count)
    share_rows(ranks.kth, rows.count, 2 * rows.words.size, rows.words, k, out)
    return out


def lowest(rows: Rows, k: int) -> Floats:
    """The k lowest energies in order, (B, k)."""
    out = np.empty((rows.count, k))
    share_rows(ranks.lowest_of, rows.count, 2 * rows.words.size, rows.words, out)
    return out


def spread(rows: Rows, ground: Floats) -> tuple[Floats, Floats]:
    """Number of present states and the standard deviation of their energies, (B,) each."""
    out = np.empty((rows.count, 2))
    share_rows(ranks.spread, rows.count, rows.words.size, rows.words, ground, out)
    return out[:, 0], out[:, 1]


def highest_within(rows: Rows, limit: Floats) -> Floats:
    """The highest finite energy no more than `limit`, (B,)."""
    out = np.empty(rows.count)
    share_rows(ranks.below, rows.count, rows.words.size, rows.words, _floor(limit, rows.words), out)
    return out


def crossing(rows: Rows, ends: tuple[Floats, Floats], betas: Floats, rule: str, share: float) -> Floats:
    """Lowest and highest energy that stay, and their share of the weight, (B, 3)."""
    out = np.empty((rows.count, 3))
    wide = rows.words.itemsize == 8
    both = np.stack(ends, axis=1)
    share_rows(weights.cross, rows.count, 8 * rows.words.size, rows.words, both, betas, RULES[rule], share, wide, out)
    return out


def masses(rows: Rows, ends: tuple[Floats, Floats], betas: Floats, low: Floats, high: Floats) -> Floats:
    """The share of the weight between two energies, (B,)."""
    out = np.empty(rows.count)
    words, both = rows.words, np.stack(ends, axis=1)
    band = _band(low, high, words)
    share_rows(masking.weigh, rows.count, 4 * words.size, words, band, betas, words.itemsize == 8, both, out)
    return out


def cut(rows: Rows, low: Floats, high: Floats) -> Any:
    """The energies with +inf outside the band, in the library, type and shape they came in."""
    words = rows.words
    out = np.empty_like(words)
    share_rows(masking.cut, rows.count, words.size, words, _band(low, high, words), out)
    return _restored(out, rows)


def _restored(words: npt.NDArray[Any], rows: Rows) -> Any:
    like = rows.like
    if isinstance(like, np.ndarray):
        return words.view(like.dtype.newbyteorder("=")).reshape(like.shape)
    import torch

    signed = words.view({2: np.int16, 4: np.int32, 8: np.int64}[words.itemsize])
    return torch.from_numpy(signed).view(like.dtype).reshape(like.shape).to(like.device)


def _band(low: Floats, high: Floats, words: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.stack([-_floor(-low, words), _floor(high, words)], axis=1)


def _floor(limit: Floats, words: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The highest number of the words' own width that is no more than the limit."""
    if words.itemsize == 8:
        return limit
    with np.errstate(over="ignore"):
        near = limit.astype(np.float32)
    return np.where(near > limit, np.nextafter(near, np.float32(-np.inf)), near)
