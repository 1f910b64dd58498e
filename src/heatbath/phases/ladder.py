r"""The temperatures to sample at: equally spaced in thermodynamic length, with more where few samples count.

The Fisher information of beta is $I(\beta) = \langle\sum_t \mathrm{Var}_t E\rangle$; anchors equally spaced in
$\int\sqrt{I}\,d\beta$ overlap equally (Crooks 2007). Sequences of one temperature carry weight within a few units of
that length only, so many anchors with few sequences each are better than few with many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline

from heatbath.estimate.reweighting import balance_weights, effective_size
from heatbath.phases.prefix_sums import SweepSamples

Floats = NDArray[np.float64]

_SMALLEST_RATE = 0.25
"""Smallest rate of the thermodynamic scale, as a share of its mean."""


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
    log_q = samples.log_probabilities(sampled)[:, :, index]
    target = samples.log_probabilities(1 / temperatures)[:, :, index]
    size = counts.astype(np.float64)
    return np.stack([balance_weights(log_q[:, :, p].T, size, target[:, :, p].T) for p in range(len(index))])


def choose_batch_temperatures(samples: SweepSamples, anchors: Floats, num_rows: int, repeats: int = 4) -> Floats:
    """Choose temperatures for `num_rows` sequences: on the ladder or between, with the fewest effective samples."""
    middle = np.sqrt(anchors[1:] * anchors[:-1])
    candidates = np.sort(np.concatenate([anchors, middle]))
    worst = np.argsort(effective_sizes(samples, candidates), kind="stable")[: max(1, num_rows // repeats)]
    return np.resize(np.repeat(np.sort(candidates[worst]), repeats), num_rows)


@dataclass(frozen=True)
class ThermodynamicScale:
    """Thermodynamic length from the lowest temperature, on which curves bend equally fast everywhere.

    A step of one unit changes the mean of any observable by at most one standard deviation (the Cauchy-Schwarz bound on
    its response), so that noise and smoothness have the same relation at every temperature.
    """

    temperature: Floats
    length: Floats
    rate: Floats

    def places(self, temperature: Floats) -> Floats:
        """Return the thermodynamic length up to each temperature."""
        return np.asarray(CubicHermiteSpline(self.temperature, self.length, self.rate)(temperature))

    def rates(self, temperature: Floats) -> Floats:
        """Return the derivative of the length by temperature."""
        return np.asarray(CubicHermiteSpline(self.temperature, self.length, self.rate)(temperature, 1))


def build_thermodynamic_scale(samples: SweepSamples) -> ThermodynamicScale:
    """Measure the thermodynamic length between the lowest and the highest temperature of the samples.

    The information is smoothed over temperature. Where it is very small the scale is linear in temperature: few texts
    cannot show that nothing changes.
    """
    sampled, counts = np.unique(1 / samples.betas, return_counts=True)
    log_rate = [0.5 * np.log(max(_fisher_information(samples, t), 1e-12)) - 2 * np.log(t) for t in sampled]
    floored = np.maximum(log_rate, np.max(log_rate) - 6)
    degree = min(5, len(sampled) - 1)
    fit = np.polynomial.Polynomial.fit(np.log(sampled), floored, degree, w=np.sqrt(counts))
    grid = np.linspace(sampled[0], sampled[-1], 400)
    rate = np.exp(fit(np.log(grid)))
    rate = np.maximum(rate, _SMALLEST_RATE * rate.mean())
    length = np.concatenate([[0.0], np.cumsum(0.5 * (rate[1:] + rate[:-1]) * np.diff(grid))])
    return ThermodynamicScale(grid, length, rate)
