"""Values of each text at its own temperature, which are independent, and the curves that run through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.curve_regression import FittedCurve, MeanData, SlopeData, fit_mean_curve, fit_share_curve
from heatbath.phases.ladder import ThermodynamicScale
from heatbath.phases.prefix_sums import PrefixSums, RateFunction, SweepSamples, TextRange

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEP = 1e-3


@dataclass(frozen=True)
class TextValues:
    """An observable of each text at its own temperature, (n,), with observations of its response.

    A text counts in proportion to its `weight`. `limits` are the smallest and the largest mean that the observable can
    have, and `resolution` its smallest change. If `is_share`, values are 0 or 1.
    """

    temperature: Floats
    value: Floats
    weight: Floats
    slopes: SlopeData | None
    limits: tuple[float, float]
    is_share: bool
    resolution: float

    def fit(self, scale: ThermodynamicScale, temperatures: Floats) -> FittedCurve:
        """Fit the curve of the mean at `temperatures` (g,); slopes are by temperature."""
        place_n, place_g = scale.places(self.temperature), scale.places(temperatures)
        if self.is_share:
            fitted = fit_share_curve(place_n, self.value, place_g)
        else:
            data = MeanData(place_n, self.value, self.weight, self._slopes_by_length(scale), self.resolution)
            fitted = fit_mean_curve(data, place_g)
        rate = scale.rates(temperatures)
        return FittedCurve(
            fitted.value.clip(*self.limits),
            fitted.low.clip(*self.limits),
            fitted.high.clip(*self.limits),
            fitted.slope * rate,
            fitted.slope_stderr * rate,
        )

    def _slopes_by_length(self, scale: ThermodynamicScale) -> SlopeData | None:
        if self.slopes is None:
            return None
        rate = scale.rates(self.temperature)
        return SlopeData(self.slopes.product / rate, self.slopes.score / rate)


@dataclass(frozen=True)
class OwnSums:
    """The prefix sums of the texts of one temperature, `rows` (r,), there and just below and above."""

    rows: Ints
    texts: SweepSamples
    at: PrefixSums
    low: PrefixSums
    high: PrefixSums

    def score(self) -> Floats:
        """Return the derivative by temperature of the log-probability of each prefix, (r, c)."""
        return (self.at.excess_energy - self.at.mean_energy) * self.at.beta**2


def compute_own_sums(samples: SweepSamples) -> list[OwnSums]:
    """Compute the sums of every text at its own temperature, temperature by temperature."""
    result = []
    for beta in np.unique(samples.betas).tolist():
        rows = np.flatnonzero(samples.betas == beta)
        texts = samples.select_rows(rows)
        around = (texts.sums_at(beta / (1 + step)) for step in (0.0, -_STEP, _STEP))
        result.append(OwnSums(rows, texts, *around))
    return result


def rate_values(samples: SweepSamples, sums: Sequence[OwnSums], rate: RateFunction, window: TextRange) -> TextValues:
    """Return the values of a rate per token over a range, which is not negative.

    Where texts may end by themselves, the value is the mean over the tokens that are there, and each text counts in
    proportion to them.
    """
    parts = [window] if samples.may_end else window.split_blocks()
    stops = [part.stop for part in parts]
    present = window.share_present(samples) if samples.may_end else np.ones(len(samples))
    value, product, score = (np.empty(len(samples)) for _ in range(3))
    for own in sums:
        tokens = np.where(present[own.rows] > 0, present[own.rows], 1.0)
        drift = (rate(own.high) - rate(own.low)) / (1 / own.high.beta - 1 / own.low.beta)
        amount = rate(own.at)
        block = np.array([part.mean_rate(own.texts, amount) / tokens for part in parts])
        block_score = own.score()[:, stops].T
        value[own.rows], score[own.rows] = block.mean(0), block_score.mean(0)
        product[own.rows] = (block * block_score).mean(0) + window.mean_rate(own.texts, drift) / tokens
    slopes = SlopeData(product, score) if samples.is_reweightable else None
    return TextValues(1 / samples.betas, value, present, slopes, (0.0, np.inf), False, 0.0)


def text_values(samples: SweepSamples, sums: Sequence[OwnSums], value_n: Floats) -> TextValues:
    """Return the values of an observable of complete texts, (n,); values within [0, 1] are taken for shares."""
    is_share = bool(np.isin(value_n, (0, 1)).all())
    is_within = bool(value_n.min() >= 0 and value_n.max() <= 1)
    limits = (0.0, 1.0) if is_within else (-np.inf, np.inf)
    # A share of tokens changes by one token; of other observables nothing is known but the differences seen.
    resolution = 1 / samples.length if is_within else float(np.diff(np.unique(value_n)).min(initial=np.inf))
    resolution = resolution if np.isfinite(resolution) else 0.0
    score = np.empty(len(samples))
    for own in sums:
        score[own.rows] = own.score()[:, -1]
    slopes = SlopeData(value_n * score, score) if samples.is_reweightable else None
    return TextValues(1 / samples.betas, value_n, np.ones(len(samples)), slopes, limits, is_share, resolution)
