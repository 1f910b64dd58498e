r"""The temperatures to sample at: equally spaced in thermodynamic length, with more where few samples count.

The Fisher information of beta is $I(\beta) = \langle\sum_t \mathrm{Var}_t E\rangle$; anchors equally spaced in
$\int\sqrt{I}\,d\beta$ overlap equally (Crooks 2007). Sequences of one temperature carry weight within a few units of
that length only, so many anchors with few sequences each are better than few with many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.reweighting import balance_weights, effective_size
from heatbath.phases.prefix_sums import SweepSamples

Floats = NDArray[np.float64]


def geometric_ladder(low: float, high: float, count: int) -> Floats:
    """Return `count` geometrically spaced temperatures, for the first batch."""
    return np.geomspace(low, high, count)


def equal_length_ladder(samples: SweepSamples, low: float, high: float, count: int) -> Floats:
    """Return `count` rising temperatures from `low` to `high`, equally spaced in thermodynamic length."""
    beta_g = np.geomspace(1 / high, 1 / low, 200)
    temperature_k = np.unique(1 / samples.betas)
    information_k = np.array([_fisher_information(samples, t) for t in temperature_k])
    log_i = np.interp(-np.log(beta_g), np.log(temperature_k), np.log(np.maximum(information_k, 1e-6)))
    speed = np.exp(0.5 * log_i)
    length = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(beta_g))])
    beta = np.interp(np.linspace(0, length[-1], count), length, beta_g)
    return np.sort(1 / beta)


def _fisher_information(samples: SweepSamples, temperature: float) -> float:
    own = np.isclose(1 / samples.betas, temperature)
    return float(samples.log_z.variance(1 / temperature)[own, -1].mean())


def effective_sizes(samples: SweepSamples, temperatures: Floats) -> Floats:
    """Return the effective number of complete sequences for each temperature, (g,)."""
    return effective_size(pooled_weights(samples, temperatures, [-1])[0])


def pooled_weights(samples: SweepSamples, temperatures: Floats, prefix_indices: Sequence[int]) -> Floats:
    """Return the balance weights (p, n, g) of some of the prefixes of each sequence, at each temperature.

    Sequences that cannot be reweighted count at their own temperature alone.
    """
    if not samples.is_reweightable:
        own = np.isclose(1 / samples.betas[:, None], temperatures, rtol=1e-9, atol=0.0)
        return np.broadcast_to(own.astype(np.float64), (len(prefix_indices), *own.shape))
    sampled, counts = np.unique(samples.betas, return_counts=True)
    index = list(prefix_indices)
    log_q = np.stack([samples.log_probability(beta)[:, index] for beta in sampled], axis=2)
    target = np.stack([samples.log_probability(1 / t)[:, index] for t in temperatures], axis=2)
    size = counts.astype(np.float64)
    return np.stack([balance_weights(log_q[:, p], size, target[:, p]) for p in range(len(index))])


def choose_batch_temperatures(samples: SweepSamples, anchors: Floats, num_rows: int, repeats: int = 4) -> Floats:
    """Choose temperatures for `num_rows` sequences: on the ladder or between, with the fewest effective samples."""
    middle = np.sqrt(anchors[1:] * anchors[:-1])
    candidates = np.sort(np.concatenate([anchors, middle]))
    worst = np.argsort(effective_sizes(samples, candidates), kind="stable")[: max(1, num_rows // repeats)]
    return np.resize(np.repeat(np.sort(candidates[worst]), repeats), num_rows)
