"""Reductions and draws on the CPU: the choice of method for a batch of rows, run on several threads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heatbath.kernels.binning import MAX_BETA, MAX_EXPONENT, MIN_BETA, bin_layout
from heatbath.kernels.histogram import fill_binned_sums, fill_counted_sums
from heatbath.kernels.row_sums import fill_sums
from heatbath.kernels.row_sums import select_states as fill_selected
from heatbath.kernels.sampling import draw_and_observe, draw_states
from heatbath.kernels.thread_pool import share_rows

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.integer]

MIN_TABLE_STATES = 4096
"""Up to this many states, visiting each of them is faster than a histogram."""
MAX_NORMAL_EXPONENT = 700.0
"""Largest beta d at which exp(-beta d) is a normal float64; it is 1e-304 there."""
MAX_BINNED_STATES = 1 << 24
"""Number of states from which the integers of a bin could overflow."""


def _in_plain_layout(numbers: Floats) -> Floats:
    """Return few numbers as a contiguous, writeable array: a kernel is compiled again for each other kind of array."""
    return numbers if numbers.flags.carray else np.array(numbers, order="C")


def sums(words: Words, betas: Floats, max_exponent: float = MAX_NORMAL_EXPONENT) -> Floats:
    """Return status, ground and four sums (N, K, 6) at betas (N or 1, K).

    A histogram leaves out states with beta d beyond `max_exponent`.
    """
    out = np.empty((words.shape[0], betas.shape[1], 6))
    betas = _in_plain_layout(betas)
    work = words.size * (1 + betas.shape[1])
    if words.itemsize == 2 and words.shape[1] > MIN_TABLE_STATES:
        share_rows(fill_counted_sums, words.shape[0], work, words, betas, max_exponent, out)
    else:
        share_rows(fill_sums, words.shape[0], work, words, betas, words.itemsize == 8, out)
    return out


def fast_sums(words: Words, betas: Floats) -> Floats:
    """Return `sums` at shared betas (K,), from a histogram where that is faster and its range of betas allows it."""
    regular = (betas > MIN_BETA) & (betas < MAX_BETA)
    if words.itemsize == 2:
        return sums(words, betas[None, :], MAX_EXPONENT)
    if regular.sum() < 4 or not MIN_TABLE_STATES < words.shape[1] < MAX_BINNED_STATES:
        return sums(words, betas[None, :])
    offset, bins = bin_layout(betas[regular].min(), betas[regular].max())
    if bins > words.shape[1]:
        return sums(words, betas[None, :])
    out = np.empty((words.shape[0], len(betas), 6))
    binned = np.empty((words.shape[0], int(regular.sum()), 6))
    share_rows(fill_binned_sums, words.shape[0], 8 * words.size, words, betas[regular], offset, bins, binned)
    out[:, regular] = binned
    if not regular.all():
        out[:, ~regular] = sums(words, betas[None, ~regular])
    return out


def observed_sums(words: Words, shared: Floats, own: Floats) -> Floats:
    """Return `sums` at betas shared by all rows (K,) and, last, at one beta per row (N,): (N, K + 1, 6)."""
    if words.itemsize == 2:
        betas = np.concatenate([np.broadcast_to(shared, (words.shape[0], len(shared))), own[:, None]], axis=1)
        return sums(words, betas, MAX_EXPONENT)
    return np.concatenate([fast_sums(words, shared), sums(words, own[:, None])], axis=1)


def select_states(words: Words, index: npt.NDArray[np.int64]) -> Floats:
    """Return the energy of one state per row and the number of states below it, (N, 2)."""
    out = np.empty((words.shape[0], 2))
    share_rows(fill_selected, words.shape[0], words.size, words, index, out)
    return out


def draw(words: Words, betas: Floats, uniform: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return one drawn state per row, and the status of each row."""
    index, status = np.empty(words.shape[0], np.int64), np.empty(words.shape[0], np.int64)
    betas, uniform = _in_plain_layout(betas), _in_plain_layout(uniform)
    share_rows(draw_states, words.shape[0], 4 * words.size, words, betas, uniform, words.itemsize == 8, index, status)
    return index, status


def observed_draw(
    words: Words, betas: Floats, uniform: Floats, other_beta: float
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return one drawn state per row (N,), and statistics (N, 9) of each row.

    The columns are status, ground, four sums, energy of the drawn state, states below it, Z at `other_beta`.
    """
    index, out = np.empty(words.shape[0], np.int64), np.empty((words.shape[0], 9))
    double = words.itemsize == 8
    betas, uniform = _in_plain_layout(betas), _in_plain_layout(uniform)
    share_rows(draw_and_observe, words.shape[0], 4 * words.size, words, betas, uniform, other_beta, double, index, out)
    return index, out
