"""The CPU's kernels: which method, and which rows on which thread."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heatbath.ensemble.kernels.direct import select_states as chosen_rows
from heatbath.ensemble.kernels.direct import sum_by_state
from heatbath.ensemble.kernels.inverse import draw as draw_rows
from heatbath.ensemble.kernels.inverse import draw_and_sum as observed_rows
from heatbath.ensemble.kernels.jit import run_row_kernel
from heatbath.ensemble.kernels.levels import MAX_BETA, MAX_EXPONENT, MIN_BETA, bin_layout, sum_by_bins, sum_by_counts

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.integer]

MIN_TABLE_STATES = 4096
"""Below this many states visiting each of them beats any table."""
MAX_NORMAL_EXPONENT = 700.0
"""exp(-beta d) is a normal float64 up to this beta d, and 1e-304 there."""
MAX_BINNED_STATES = 1 << 24
"""From here on the bins' integers could overflow."""


def sums(words: Words, betas: Floats, max_exponent: float = MAX_NORMAL_EXPONENT) -> Floats:
    """Status, ground and four sums (N, K, 6) at betas (N or 1, K)."""
    out = np.empty((words.shape[0], betas.shape[1], 6))
    work = words.size * (1 + betas.shape[1])
    if words.itemsize == 2 and words.shape[1] > MIN_TABLE_STATES:
        run_row_kernel(sum_by_counts, words.shape[0], work, words, betas, max_exponent, out)
    else:
        run_row_kernel(sum_by_state, words.shape[0], work, words, betas, words.itemsize == 8, out)
    return out


def fast_sums(words: Words, betas: Floats) -> Floats:
    """The same at shared betas (K,); those that bins cannot hold are summed state by state."""
    regular = (betas > MIN_BETA) & (betas < MAX_BETA)
    if words.itemsize == 2:
        return sums(words, betas[None, :], MAX_EXPONENT)
    if regular.sum() < 4 or not MIN_TABLE_STATES < words.shape[1] < MAX_BINNED_STATES:
        return sums(words, betas[None, :])
    offset, bins = bin_layout(betas[regular].min(), betas[regular].max())
    if bins > words.shape[1]:
        return sums(words, betas[None, :])
    out = np.empty((words.shape[0], len(betas), 6))
    some = np.empty((words.shape[0], int(regular.sum()), 6))
    run_row_kernel(sum_by_bins, words.shape[0], 8 * words.size, words, betas[regular], offset, bins, some)
    out[:, regular] = some
    if not regular.all():
        out[:, ~regular] = sums(words, betas[None, ~regular])
    return out


def observed_sums(words: Words, shared: Floats, own: Floats) -> Floats:
    """At betas that all rows share (K,), and at each row's own (N,), which comes last: (N, K + 1, 6)."""
    if words.itemsize == 2:
        both = np.concatenate([np.broadcast_to(shared, (words.shape[0], len(shared))), own[:, None]], axis=1)
        return sums(words, both, MAX_EXPONENT)
    return np.concatenate([fast_sums(words, shared), sums(words, own[:, None])], axis=1)


def select_states(words: Words, index: npt.NDArray[np.int64]) -> Floats:
    """Energy of the chosen state and number of states below it (N, 2)."""
    out = np.empty((words.shape[0], 2))
    run_row_kernel(chosen_rows, words.shape[0], words.size, words, index, out)
    return out


def draw(words: Words, betas: Floats, uniform: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Drawn states and status of each row."""
    index, status = np.empty(words.shape[0], np.int64), np.empty(words.shape[0], np.int64)
    run_row_kernel(draw_rows, words.shape[0], 4 * words.size, words, betas, uniform, words.itemsize == 8, index, status)
    return index, status


def observed_draw(
    words: Words, betas: Floats, uniform: Floats, other_beta: float
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Drawn states; and status, ground, four sums, energy, states below, Z at `also` (N, 9)."""
    index, out = np.empty(words.shape[0], np.int64), np.empty((words.shape[0], 9))
    double = words.itemsize == 8
    run_row_kernel(observed_rows, words.shape[0], 4 * words.size, words, betas, uniform, other_beta, double, index, out)
    return index, out
