r"""Curves of observables over temperature: values and responses from all sequences, smoothed, with error bands.

An observable of a prefix is reweighted with the weights of the prefix, which vary far less than those of the whole
text. Averages are over the second half of the text, where the start is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.reweighting import effective_size
from heatbath.estimate.smooth import CurveData, LinearSmoother, fit_smoother
from heatbath.phases.ladder import pooled_weights
from heatbath.phases.prefix_sums import PrefixSums, SweepSamples

Floats = NDArray[np.float64]

_STEP = 1e-3


@dataclass(frozen=True)
class Curve:
    """One observable over temperature: measured `points`, and a smooth curve with standard errors on a grid.

    `ess` is the effective number of sequences at each point; `response` is the derivative by temperature.
    """

    name: str
    points: CurveData
    ess: Floats
    temperature: Floats
    value: Floats
    stderr: Floats
    response: Floats
    response_stderr: Floats


@dataclass(frozen=True)
class TextRange:
    """A range of the text between two prefixes: the indices `start` (-1: the beginning) and `stop`."""

    start: int
    stop: int

    def mean_rate(self, samples: SweepSamples, sums_nc: Floats) -> Floats:
        """Return the average per token of summed quantities over the range, (n,)."""
        before = sums_nc[:, self.start] if self.start >= 0 else 0.0
        first = samples.prefix_lengths[self.start] if self.start >= 0 else 0
        return np.asarray((sums_nc[:, self.stop] - before) / (samples.prefix_lengths[self.stop] - first))

    def split_blocks(self) -> list[TextRange]:
        """Return the ranges between neighbouring prefixes."""
        return [TextRange(i - 1, i) for i in range(self.start + 1, self.stop + 1)]


def second_half(samples: SweepSamples, length: int) -> TextRange:
    """The second half of the first `length` tokens."""
    return TextRange(samples.find_prefix(length // 2), samples.find_prefix(length))


RateFunction = Callable[[PrefixSums], Floats]
"""Maps the sums at one temperature to the sums (n, c) of a quantity per token."""

THERMAL_RATES: dict[str, RateFunction] = {
    "energy above ground": lambda sums: sums.excess_energy,
    "surprisal": lambda sums: sums.beta * sums.excess_energy + sums.log_z,
    "surprisal at T = 1": lambda sums: sums.surprisal,
    "entropy": lambda sums: sums.log_z + sums.beta * sums.mean_energy,
    "heat capacity": lambda sums: sums.beta**2 * sums.variance,
    "Fisher information of beta": lambda sums: sums.variance,
}
"""Quantities per token, in nats (the Fisher information in nats squared)."""


@dataclass(frozen=True)
class PooledSamples:
    """All sequences with their balance weights (c, n, g) for each prefix at each of `temperatures` (g,).

    `sums` (g,) holds the prefix sums at, just below and just above each temperature.
    """

    samples: SweepSamples
    temperatures: Floats
    weights: Floats
    sums: Sequence[tuple[PrefixSums, PrefixSums, PrefixSums]]

    def ess(self) -> Floats:
        """Effective number of whole sequences at each temperature, (g,)."""
        return effective_size(self.weights[-1])


def pool_samples(samples: SweepSamples, temperatures: Floats) -> PooledSamples:
    """Compute the weights of every sequence at every temperature."""
    weights = pooled_weights(samples, temperatures, range(len(samples.prefix_lengths)))
    around = [[samples.sums_at(1 / (t * (1 + step))) for step in (0.0, -_STEP, _STEP)] for t in temperatures.tolist()]
    return PooledSamples(samples, temperatures, weights, [(at, low, high) for at, low, high in around])


@dataclass(frozen=True)
class ObservableColumn:
    """An observable of every sequence at every temperature, block by block: (p, n, g) each.

    `explicit_slope` is the derivative by T for a fixed text, `score` the derivative by T of the log-probability of the
    text so far. A bootstrap replica only changes how often each sequence counts, so these are computed once.
    """

    weights: Floats
    value: Floats
    explicit_slope: Floats
    score: Floats

    def moments(self, draws_n: Floats | None = None) -> tuple[Floats, Floats]:
        """Return value and response at each temperature, (g,) each; `draws_n` is how often each sequence counts."""
        draws = np.ones(self.value.shape[1]) if draws_n is None else draws_n
        value, slope = self.replica_moments(draws[None])
        return value[0], slope[0]

    def replica_moments(self, draws_rn: Floats) -> tuple[Floats, Floats]:
        """Return `moments` for many draws, (r, g) each: one matrix product per block, as all is linear in the draws."""
        blocks = zip(self.weights, self.value, self.explicit_slope, self.score, strict=True)
        value, slope = np.mean([_block_moments(*block, draws_rn) for block in blocks], axis=0)
        return value, slope

    def stderr(self) -> tuple[Floats, Floats]:
        """Return the standard errors of `moments`, (g,) each, from the influence of each sequence."""
        share = self.weights / self.weights.sum(1, keepdims=True)
        deviation = self.value - (share * self.value).sum(1, keepdims=True)
        unbias = 1 / np.maximum(1 - (share**2).sum(1, keepdims=True), 0.5)
        slope_n = self.explicit_slope + unbias * deviation * (self.score - (share * self.score).sum(1, keepdims=True))
        slope_n -= (share * slope_n).sum(1, keepdims=True)
        value_ng, slope_ng = (share * deviation).mean(0), (share * slope_n).mean(0)
        return np.sqrt((value_ng**2).sum(0)), np.sqrt((slope_ng**2).sum(0))


def _block_moments(
    weights: Floats, value: Floats, explicit_slope: Floats, score: Floats, draws_rn: Floats
) -> tuple[Floats, Floats]:
    """Return the weighted mean of a block, and its response: mean explicit slope plus covariance with the score."""
    total = draws_rn @ weights
    mean_value, mean_slope, mean_score, mean_product = (
        draws_rn @ (weights * column) / total for column in (value, explicit_slope, score, value * score)
    )
    unbias = 1 / np.maximum(1 - draws_rn**2 @ weights**2 / total**2, 0.5)
    return mean_value, mean_slope + unbias * (mean_product - mean_value * mean_score)


def rate_column(pool: PooledSamples, rate: RateFunction, window: TextRange) -> ObservableColumn:
    """Return the column of a rate per token over a range, each block weighted by the text up to its end."""
    samples, parts = pool.samples, window.split_blocks()
    stops = [part.stop for part in parts]
    value, own, score = (np.empty((len(parts), len(samples), len(pool.temperatures))) for _ in range(3))
    for g, (at, low, high) in enumerate(pool.sums):
        drift = (rate(high) - rate(low)) / (1 / high.beta - 1 / low.beta)
        value[:, :, g] = [part.mean_rate(samples, rate(at)) for part in parts]
        own[:, :, g] = [part.mean_rate(samples, drift) for part in parts]
        score[:, :, g] = (at.excess_energy - at.mean_energy)[:, stops].T * at.beta**2
    return ObservableColumn(pool.weights[stops], value, own, score)


def subtract_columns(late: ObservableColumn, early: ObservableColumn) -> ObservableColumn:
    """Return the difference of two observables."""
    blocks = len(late.value) + len(early.value)
    up, down = blocks / len(late.value), -blocks / len(early.value)
    return ObservableColumn(
        np.concatenate([late.weights, early.weights]),
        np.concatenate([up * late.value, down * early.value]),
        np.concatenate([up * late.explicit_slope, down * early.explicit_slope]),
        np.concatenate([late.score, early.score]),
    )


def text_column(pool: PooledSamples, value_n: Floats) -> ObservableColumn:
    """Return the column of an observable of complete texts, (n,)."""
    score = np.stack([(at.excess_energy - at.mean_energy)[:, -1] * at.beta**2 for at, _, _ in pool.sums], axis=1)
    value = np.broadcast_to(value_n[:, None], score.shape)
    return ObservableColumn(pool.weights[-1:], value[None], np.zeros_like(score)[None], score[None])


def compute_points(column: ObservableColumn, temperatures: Floats) -> CurveData:
    """Return the measured values and responses of an observable, with standard errors."""
    value, slope = column.moments()
    value_stderr, slope_stderr = column.stderr()
    if np.isin(column.value, (0, 1)).all():
        # A share of exactly 0 or 1 is still uncertain by about one text.
        value_stderr = np.maximum(value_stderr, 1 / (effective_size(column.weights[-1]) + 2))
    return CurveData(temperatures, value, value_stderr, slope, slope_stderr)


def smooth_errors(points: CurveData, ess: Floats) -> CurveData:
    """Return the points with standard errors averaged over five neighbours.

    The standard error of a few sequences alone is poor, and zero if they happen to agree.
    """
    return CurveData(
        points.x,
        points.value,
        _smooth_stderr(points.value_stderr, ess),
        points.slope,
        _smooth_stderr(points.slope_stderr, ess),
    )


def _smooth_stderr(stderr: Floats, ess: Floats) -> Floats:
    variance = stderr**2 * ess
    padded = np.pad(variance, 2, mode="edge")
    return np.asarray(np.sqrt(np.lib.stride_tricks.sliding_window_view(padded, 5).mean(1) / ess))


def build_smoother(points: CurveData, pool: PooledSamples, grid: Floats) -> LinearSmoother:
    """Fit a smooth curve to measured points; they share sequences, and the band counts each sequence once."""
    smooth, ess = smooth_errors(points, pool.ess()), pool.ess()
    # Each sequence counts in several points: their errors are widened by the mean number of points per sequence.
    factor = np.sqrt(max(1.0, ess.sum() / len(pool.samples)))
    noise = CurveData(points.x, points.value, factor * smooth.value_stderr, points.slope, factor * smooth.slope_stderr)
    return fit_smoother(noise, grid)


def fit_curve(name: str, points: CurveData, pool: PooledSamples, grid: Floats) -> Curve:
    """Smooth measured points into a curve on a grid of temperatures."""
    smoother = build_smoother(points, pool, grid)
    value, response = smoother.apply(points.value, points.slope)
    smooth = smooth_errors(points, pool.ess())
    return Curve(name, smooth, pool.ess(), grid, value, smoother.stderr[0], response, smoother.stderr[1])


_LABELS = {
    "energy above ground": ("Energy above the ground state", "nats per token"),
    "surprisal": ("Surprisal at T", "nats per token"),
    "surprisal at T = 1": ("Surprisal at T = 1", "nats per token"),
    "entropy": ("Entropy", "nats per token"),
    "heat capacity": ("Heat capacity", "nats per token"),
    "Fisher information of beta": ("Fisher information of beta", "nats² per token"),
    "loop fraction": ("Loops: the second half of the text is an exact cycle", "share of texts"),
    "stale fraction": ("Nothing new: the second half of the text repeats the first", "share of texts"),
    "repetition": ("Repetition: the token stands among the 32 before it", "share of tokens"),
    "distinct bigrams": ("Distinct bigrams", "share of bigrams"),
    "compressed size": ("Compressed size", "share of bytes"),
    "characters": ("Length of the text", "characters"),
}


def title_and_unit(name: str) -> tuple[str, str]:
    """Return title and unit of an observable as reports show them; a user's own observable has the unit "value"."""
    title, unit = _LABELS.get(name, (name[:1].upper() + name[1:], "value"))
    return (f"{title}, second half of the text" if name in THERMAL_RATES else title), unit
