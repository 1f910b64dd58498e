r"""Where to sample: temperatures spaced by thermodynamic length, and more of them where weights are thin.

The Fisher information of beta is $I(\beta) = \langle\sum_t \mathrm{Var}_t E\rangle$; anchors equally spaced in
$\int\sqrt{I}\,d\beta$ overlap equally (Crooks 2007). Sequences at one temperature answer for others only a few units
of that length away, so many anchors with few sequences each beat few with many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.weights import balance_weights, effective_size
from heatbath.phases.samples import Samples

Floats = NDArray[np.float64]


def geometric(low: float, high: float, count: int) -> Floats:
    """Temperatures to start from, before anything is known."""
    return np.geomspace(low, high, count)


def by_length(samples: Samples, low: float, high: float, count: int) -> Floats:
    """`count` temperatures from `low` to `high`, equally spaced in thermodynamic length, rising."""
    beta_g = np.geomspace(1 / high, 1 / low, 200)
    temperature_k = np.unique(1 / samples.betas)
    information_k = np.array([_information(samples, t) for t in temperature_k])
    log_i = np.interp(-np.log(beta_g), np.log(temperature_k), np.log(np.maximum(information_k, 1e-6)))
    speed = np.exp(0.5 * log_i)
    length = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(beta_g))])
    beta = np.interp(np.linspace(0, length[-1], count), length, beta_g)
    return np.sort(1 / beta)


def _information(samples: Samples, temperature: float) -> float:
    own = np.isclose(1 / samples.betas, temperature)
    return float(samples.log_z.variance(1 / temperature)[own, -1].mean())


def sizes_at(samples: Samples, temperatures: Floats) -> Floats:
    """Effective number of whole sequences that the pool holds for each temperature, (g,)."""
    return effective_size(pooled_weights(samples, temperatures, [-1])[0])


def pooled_weights(samples: Samples, temperatures: Floats, places: Sequence[int]) -> Floats:
    """Balance weights (p, n, g) of the prefixes up to some of `samples.places`, at each temperature."""
    sampled, counts = np.unique(samples.betas, return_counts=True)
    index = list(places)
    log_q = np.stack([samples.log_law(beta)[:, index] for beta in sampled], axis=2)
    target = np.stack([samples.log_law(1 / t)[:, index] for t in temperatures], axis=2)
    size = counts.astype(np.float64)
    return np.stack([balance_weights(log_q[:, p], size, target[:, p]) for p in range(len(index))])


def next_batch(samples: Samples, anchors: Floats, rows: int, each: int = 4) -> Floats:
    """Temperatures for the next `rows` sequences: the places on the ladder, and half-way, that weights cover worst."""
    middle = np.sqrt(anchors[1:] * anchors[:-1])
    places = np.sort(np.concatenate([anchors, middle]))
    worst = np.argsort(sizes_at(samples, places), kind="stable")[: max(1, rows // each)]
    return np.resize(np.repeat(np.sort(places[worst]), each), rows)
