"""The CPU's kernels: which method, and which rows on which thread."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.kernels.direct import chosen as chosen_rows
from heatbath.ensemble.kernels.direct import direct
from heatbath.ensemble.kernels.inverse import draw as draw_rows
from heatbath.ensemble.kernels.inverse import observed as observed_rows
from heatbath.ensemble.kernels.jit import share_rows
from heatbath.ensemble.kernels.levels import FARTHEST, LEAST, MOST, bin_layout, binned, counted

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.integer]

FEW_STATES = 4096
"""Below this many states visiting each of them beats any table."""
EVERYTHING = 700.0
"""exp(-beta d) is a normal float64 up to this beta d, and 1e-304 there."""
MANY_STATES = 1 << 24
"""From here on the bins' integers could overflow."""


def sums(words: Words, betas: Floats, farthest: float = EVERYTHING) -> Floats:
    """Status, ground and four sums (N, K, 6) at betas (N or 1, K)."""
    out = np.empty((words.shape[0], betas.shape[1], 6))
    work = words.size * (1 + betas.shape[1])
    if words.itemsize == 2 and words.shape[1] > FEW_STATES:
        share_rows(counted, words.shape[0], work, words, betas, farthest, out)
    else:
        share_rows(direct, words.shape[0], work, words, betas, words.itemsize == 8, out)
    return out


def fast_sums(words: Words, betas: Floats) -> Floats:
    """The same at shared betas (K,); those that bins cannot hold are summed state by state."""
    regular = (betas > LEAST) & (betas < MOST)
    if words.itemsize == 2:
        return sums(words, betas[None, :], FARTHEST)
    if regular.sum() < 4 or not FEW_STATES < words.shape[1] < MANY_STATES:
        return sums(words, betas[None, :])
    offset, bins = bin_layout(betas[regular].min(), betas[regular].max())
    if bins > words.shape[1]:
        return sums(words, betas[None, :])
    out = np.empty((words.shape[0], len(betas), 6))
    some = np.empty((words.shape[0], int(regular.sum()), 6))
    share_rows(binned, words.shape[0], 8 * words.size, words, betas[regular], offset, bins, some)
    out[:, regular] = some
    if not regular.all():
        out[:, ~regular] = sums(words, betas[None, ~regular])
    return out


def observed_sums(words: Words, shared: Floats, own: Floats) -> Floats:
    """At betas that all rows share (K,), and at each row's own (N,), which comes last: (N, K + 1, 6)."""
    if words.itemsize == 2:
        both = np.concatenate([np.broadcast_to(shared, (words.shape[0], len(shared))), own[:, None]], axis=1)
        return sums(words, both, FARTHEST)
    return np.concatenate([fast_sums(words, shared), sums(words, own[:, None])], axis=1)


def chosen(words: Words, index: npt.NDArray[np.int64]) -> Floats:
    """Energy of the chosen state and number of states below it (N, 2)."""
    out = np.empty((words.shape[0], 2))
    share_rows(chosen_rows, words.shape[0], words.size, words, index, out)
    return out


def draw(words: Words, betas: Floats, uniform: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Drawn states and status of each row."""
    index, status = np.empty(words.shape[0], np.int64), np.empty(words.shape[0], np.int64)
    share_rows(draw_rows, words.shape[0], 4 * words.size, words, betas, uniform, words.itemsize == 8, index, status)
    return index, status


def observed_draw(words: Words, betas: Floats, uniform: Floats, also: float) -> tuple[npt.NDArray[np.int64], Floats]:
    """Drawn states; and status, ground, four sums, energy, states below, Z at `also` (N, 9)."""
    index, out = np.empty(words.shape[0], np.int64), np.empty((words.shape[0], 9))
    double = words.itemsize == 8
    share_rows(observed_rows, words.shape[0], 4 * words.size, words, betas, uniform, also, double, index, out)
    return index, out
