r"""Curves of observables over temperature: values and responses from all sequences, smoothed, with error bands.

An observable of a prefix is reweighted with the weights of the prefix, which vary far less than those of the whole
text. Averages are over the second half of the text, where the start is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.curve_regression import Z_95
from heatbath.estimate.reweighting import effective_size
from heatbath.estimate.smooth import CurveData, LinearSmoother, fit_smoother
from heatbath.phases.ladder import ThermodynamicScale, pooled_weights
from heatbath.phases.prefix_sums import PrefixSums, RateFunction, SweepSamples, TextRange
from heatbath.phases.text_values import TextValues

Floats = NDArray[np.float64]

_STEP = 1e-3
MIN_PRESENT = 3.0
"""Effective number of texts below which a temperature is left out, where texts end by themselves."""


@dataclass(frozen=True)
class Curve:
    """One observable over temperature: measured `points`, and a smooth curve on a grid of temperatures (g,).

    `ess` is the effective number of sequences at each point; `response` is the derivative by temperature. `band` (2, g)
    and `point_interval` (2, k) are the lower and upper ends of 95 % intervals, which are not symmetric for shares;
    `stderr` is half the width of the band over 1.96. Both default to 1.96 standard errors on each side.
    """

    name: str
    points: CurveData
    ess: Floats
    temperature: Floats
    value: Floats
    stderr: Floats
    response: Floats
    response_stderr: Floats
    band: Floats = field(default_factory=lambda: np.empty(0))
    point_interval: Floats = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if not self.band.size:
            object.__setattr__(self, "band", _symmetric_interval(self.value, self.stderr))
        if not self.point_interval.size:
            interval = _symmetric_interval(self.points.value, self.points.value_stderr)
            object.__setattr__(self, "point_interval", interval)


def _symmetric_interval(value: Floats, stderr: Floats) -> Floats:
    return np.stack([value - Z_95 * stderr, value + Z_95 * stderr])


def second_half(samples: SweepSamples, length: int) -> TextRange:
    """The second half of the first `length` tokens."""
    return TextRange(samples.find_prefix(length // 2), samples.find_prefix(length))


def averaging_range(samples: SweepSamples) -> TextRange:
    """The tokens that quantities per token are averaged over: the second half of texts of one length, else all."""
    half = second_half(samples, samples.length)
    return TextRange(-1, half.stop) if samples.may_end else half


THERMAL_RATES: dict[str, RateFunction] = {
    "energy above ground": lambda sums: sums.excess_energy,
    "surprisal": lambda sums: sums.beta * sums.excess_energy + sums.log_z,
    "surprisal at T = 1": lambda sums: sums.surprisal,
    "entropy": lambda sums: sums.log_z + sums.beta * sums.mean_energy,
    "heat capacity": lambda sums: sums.beta**2 * sums.variance,
    "Fisher information of beta": lambda sums: sums.variance,
}
"""Quantities per token, in nats (the Fisher information in nats squared)."""

_CONDITIONAL_MEANS: dict[str, RateFunction] = {
    "energy above ground": lambda sums: sums.mean_energy,
    "surprisal": THERMAL_RATES["entropy"],
    "surprisal at T = 1": lambda sums: sums.surprisal - sums.excess_energy + sums.mean_energy,
}


def select_rates(samples: SweepSamples) -> dict[str, RateFunction]:
    """Return the thermal rates, of the tokens that are drawn by their mean given the text before (Rao-Blackwell).

    The expectation is the same and the noise is less. At low temperatures the rates of drawn tokens are almost always
    zero and rarely large, so that the error of a few texts is underestimated: bands of 95 % would cover 92 %. Windows
    change the mean of a drawn token, so there the tokens count.
    """
    return THERMAL_RATES | _CONDITIONAL_MEANS if samples.is_reweightable else THERMAL_RATES


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

    def score(self, at: PrefixSums) -> Floats:
        """Return the derivative by T of the log-probability of each prefix, (n, c).

        NaN for texts that were drawn through windows: their probability is not known from the records, so a response
        cannot be measured, and curves are fitted to values alone.
        """
        score = (at.excess_energy - at.mean_energy) * at.beta**2
        return score if self.samples.is_reweightable else np.full_like(score, np.nan)


def pool_samples(samples: SweepSamples, temperatures: Floats) -> PooledSamples:
    """Compute the weights of every sequence at every temperature."""
    weights = pooled_weights(samples, temperatures, range(len(samples.prefix_lengths)))
    # At the ends of the nodes, T = 0.1 and T = 3, differences are one-sided.
    nodes = samples.log_z.betas
    betas = [(1 / (temperatures * (1 + step))).clip(nodes[0], nodes[-1]) for step in (0.0, -_STEP, _STEP)]
    around = [samples.list_sums(beta_g) for beta_g in betas]
    return PooledSamples(samples, temperatures, weights, list(zip(*around, strict=True)))


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


def rate_column(
    pool: PooledSamples, rate: RateFunction, window: TextRange, *, reach: int | None = None
) -> ObservableColumn:
    """Return the column of a rate per token over a range, each block weighted by the text up to its end.

    Where texts may end by themselves the range is one block, and the value is the mean over the tokens that are there:
    each text counts in proportion to them. With `reach`, only the texts that reach this prefix count.
    """
    samples = pool.samples
    parts = [window] if samples.may_end else window.split_blocks()
    stops = [part.stop if reach is None or not samples.may_end else reach for part in parts]
    weights, tokens = pool.weights[stops], np.ones(len(samples))
    if samples.may_end:
        weights, tokens = _weigh_present(weights, samples, window, reach)
    value, own, score = (np.empty((len(parts), len(samples), len(pool.temperatures))) for _ in range(3))
    for g, (at, low, high) in enumerate(pool.sums):
        drift = (rate(high) - rate(low)) / (1 / high.beta - 1 / low.beta)
        value[:, :, g] = [part.mean_rate(samples, rate(at)) / tokens for part in parts]
        own[:, :, g] = [part.mean_rate(samples, drift) / tokens for part in parts]
        score[:, :, g] = pool.score(at)[:, stops].T
    return ObservableColumn(weights, value, own, score)


def _weigh_present(
    weights: Floats, samples: SweepSamples, window: TextRange, reach: int | None
) -> tuple[Floats, Floats]:
    """Return the weights times the share of the range that each text has, and this share, at least one token.

    Temperatures with fewer than three effective texts in the range have no weights: they are left out.
    """
    present = window.share_present(samples)
    if reach is not None:
        present = present * (samples.lengths >= samples.prefix_lengths[reach])
    weighted = weights * present[None, :, None]
    total = weighted.sum(1)
    size = np.divide(total**2, (weighted**2).sum(1), out=np.zeros_like(total), where=total > 0)
    weighted = np.where(size[:, None, :] >= MIN_PRESENT, weighted, np.nan)
    return weighted, np.where(present > 0, present, 1.0)


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
    score = np.stack([pool.score(at)[:, -1] for at, _, _ in pool.sums], axis=1)
    value = np.broadcast_to(value_n[:, None], score.shape)
    return ObservableColumn(pool.weights[-1:], value[None], np.zeros_like(score)[None], score[None])


def compute_points(column: ObservableColumn, temperatures: Floats) -> CurveData:
    """Return the measured values and responses of an observable, with standard errors."""
    value, slope = column.moments()
    value_stderr, slope_stderr = column.stderr()
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
    windows = np.lib.stride_tricks.sliding_window_view(padded, 5)
    mean = np.nan_to_num(windows).sum(1) / np.maximum(np.isfinite(windows).sum(1), 1)
    return np.where(np.isfinite(variance), np.sqrt(mean / ess), np.nan)


def build_smoother(points: CurveData, pool: PooledSamples, grid: Floats) -> LinearSmoother:
    """Fit a smooth curve to measured points; they share sequences, and the band counts each sequence once."""
    smooth, ess = smooth_errors(points, pool.ess()), pool.ess()
    # Each sequence counts in several points: their errors are widened by the mean number of points per sequence.
    factor = np.sqrt(max(1.0, ess.sum() / len(pool.samples)))
    noise = CurveData(points.x, points.value, factor * smooth.value_stderr, points.slope, factor * smooth.slope_stderr)
    return fit_smoother(noise, grid)


@dataclass(frozen=True)
class CurveFrame:
    """The pool of all sequences, the thermodynamic scale of the smoothing, and the grid of the curves (g,)."""

    pool: PooledSamples
    scale: ThermodynamicScale
    grid: Floats


def fit_curve(name: str, column: ObservableColumn, own: TextValues, frame: CurveFrame) -> Curve:
    """Fit a curve through the values of all texts, and measure points by reweighting the same texts.

    The curve uses every text at its own temperature, where texts are independent; a point uses every text with its
    weight at the temperature of the point.
    """
    temperatures, ess = frame.pool.temperatures, frame.pool.ess()
    points = compute_points(column, temperatures)
    if own.is_share:
        points, interval = _correct_share_points(points, column, ess)
    else:
        points = smooth_errors(points, ess)
        interval = _symmetric_interval(points.value, points.value_stderr).clip(*own.limits)
    fitted = own.fit(frame.scale, frame.grid)
    stderr = (fitted.high - fitted.low) / (2 * Z_95)
    band = np.stack([fitted.low, fitted.high])
    return Curve(name, points, ess, frame.grid, fitted.value, stderr, fitted.slope, fitted.slope_stderr, band, interval)


def _correct_share_points(points: CurveData, column: ObservableColumn, ess: Floats) -> tuple[CurveData, Floats]:
    """Return the points of a share with errors that do not vanish where all texts agree, and Wilson's intervals.

    The error of a slope is that of the Agresti-Coull share, in which two hits and two misses are added.
    """
    interval = wilson_interval(points.value, ess)
    value_stderr = np.ptp(interval, axis=0) / (2 * Z_95)
    added = (points.value * ess + 2) / (ess + 4)
    share = column.weights[0] / column.weights[0].sum(0)
    slope_stderr = np.sqrt(added * (1 - added) * (share**2 * column.score[0] ** 2).sum(0))
    slope_stderr = np.maximum(slope_stderr, points.slope_stderr)
    return CurveData(points.x, points.value, value_stderr, points.slope, slope_stderr), interval


def wilson_interval(share: Floats, count: Floats) -> Floats:
    """Return Wilson's 95 % interval of shares of `count` outcomes, (2, k): within [0, 1], and never of width zero."""
    center = (share + Z_95**2 / (2 * count)) / (1 + Z_95**2 / count)
    half = Z_95 / (1 + Z_95**2 / count) * np.sqrt(share * (1 - share) / count + Z_95**2 / (4 * count**2))
    return np.stack([np.minimum(center - half, share), np.maximum(center + half, share)]).clip(0.0, 1.0)


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
    "finished fraction": ("Finished: the text ends by itself", "share of texts"),
    "tokens": ("Length of the text, the end included", "tokens"),
}


def title_and_unit(name: str) -> tuple[str, str]:
    """Return title and unit of an observable as reports show them; a user's own observable has the unit "value"."""
    return _LABELS.get(name, (name[:1].upper() + name[1:], "value"))
