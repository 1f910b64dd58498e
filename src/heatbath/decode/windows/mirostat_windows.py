"""Windows of the mirostat schedules, with a limit for each row that feedback sets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heatbath.decode.windows.base import Floats, Window, band_above
from heatbath.decode.windows.row_statistics import Band, RowStatistics

ZIPF_RANKS = 100
"""Number of most probable states to which Zipf's law is fitted."""


def max_surprisal(limits: Floats) -> Window:
    r"""Keep the states of surprisal $-\ln p_v$ at most `limits` (B,), nats, and always the ground states."""

    def band(statistics: RowStatistics, uniform: Floats | None) -> Band:
        return band_above(statistics, np.log(statistics.sums[0]) - limits)

    return Window("surprise_at_most", band)


def zipf_top_k(limits: Floats) -> Window:
    r"""Keep the k most probable states, with k from Zipf's law fitted to the row and surprisal `limits` (B,), nats.

    $\hat s=\sum t_ib_i/\sum t_i^2$ over the hundred most probable, $t_i=\ln\frac{i+1}{i}$,
    $b_i=\ln\frac{p_i}{p_{i+1}}$; $k=\left(\epsilon e^{\mu}/(1-n^{-\epsilon})\right)^{1/\hat s}$ with
    $\epsilon=\hat s-1$ and n states, rounded, at least 1. Source: Basu et al. 2020, arXiv:2007.14966, algorithm 1.
    """

    def band(statistics: RowStatistics, uniform: Floats | None) -> Band:
        high = statistics.kth_lowest_energy(compute_zipf_ranks(statistics, limits))
        return Band(np.full(high.shape, -np.inf), np.where(np.isinf(statistics.betas), statistics.ground, high))

    return Window("zipf_surprise", band)


def compute_zipf_ranks(statistics: RowStatistics, limits: Floats) -> npt.NDArray[np.int64]:
    """Return the k of `zipf_top_k`, (B,), from 1 to the number of states."""
    exponent = _zipf_exponent(statistics)
    excess = exponent - 1
    size = np.log(statistics.num_states)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # log of (1 - n^-eps) / eps, whose limit at eps = 0 is log log n
        log_norm = np.log(np.where(excess == 0, size, -np.expm1(-excess * size) / excess))
        log_k = (limits - log_norm) / exponent
    log_k = np.where(exponent > 0, np.clip(log_k, 0, size), size)
    return np.asarray(np.clip(np.rint(np.exp(log_k)), 1, statistics.num_states), np.int64)


def _zipf_exponent(statistics: RowStatistics) -> Floats:
    """Return the slope of log p over log rank among the most probable present states, (B,); 0 at beta = 0."""
    energies = statistics.lowest_energies(min(ZIPF_RANKS, statistics.num_states))
    betas = np.where(np.isinf(statistics.betas), 0.0, statistics.betas)[:, None]
    with np.errstate(invalid="ignore"):
        gaps = np.diff(energies, axis=1)
    present = np.isfinite(gaps)
    steps = np.log1p(1 / np.arange(1.0, energies.shape[1]))
    weight = (present * steps**2).sum(-1)
    slope = (steps * np.where(present, betas * np.where(present, gaps, 0.0), 0.0)).sum(-1)
    return np.asarray(np.divide(slope, weight, out=np.zeros_like(slope), where=weight > 0))
