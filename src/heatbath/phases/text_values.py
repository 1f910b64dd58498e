"""Values of each text at its own temperature, which are independent, and the curves that run through them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.curve_regression import FittedCurve, SlopeData, fit_mean_curve, fit_share_curve
from heatbath.phases.ladder import ThermodynamicScale
from heatbath.phases.prefix_sums import RateFunction, SweepSamples, TextRange

Floats = NDArray[np.float64]

_STEP = 1e-3


@dataclass(frozen=True)
class TextValues:
    """An observable of each text at its own temperature, (n,), with observations of its response.

    `limits` are the smallest and the largest mean that the observable can have. If `is_share`, values are 0 or 1.
    """

    temperature: Floats
    value: Floats
    slopes: SlopeData | None
    limits: tuple[float, float]
    is_share: bool

    def fit(self, scale: ThermodynamicScale, temperatures: Floats) -> FittedCurve:
        """Fit the curve of the mean at `temperatures` (g,); slopes are by temperature."""
        place_n, place_g = scale.places(self.temperature), scale.places(temperatures)
        if self.is_share:
            fitted = fit_share_curve(place_n, self.value, place_g)
        else:
            fitted = fit_mean_curve(place_n, self.value, place_g, self._slopes_by_length(scale))
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


def rate_values(samples: SweepSamples, rate: RateFunction, window: TextRange) -> TextValues:
    """Return the values of a rate per token over a range; rates are not negative."""
    parts = window.split_blocks()
    stops = [part.stop for part in parts]
    value, product, score = (np.empty(len(samples)) for _ in range(3))
    for beta in np.unique(samples.betas):
        own = np.flatnonzero(samples.betas == beta)
        texts, temperature = samples.select_rows(own), 1 / beta
        at, low, high = (texts.sums_at(1 / (temperature * (1 + step))) for step in (0.0, -_STEP, _STEP))
        drift = (rate(high) - rate(low)) / (1 / high.beta - 1 / low.beta)
        block = np.array([part.mean_rate(texts, rate(at)) for part in parts])
        block_score = (at.excess_energy - at.mean_energy)[:, stops].T * beta**2
        value[own], score[own] = block.mean(0), block_score.mean(0)
        product[own] = (block * block_score).mean(0) + window.mean_rate(texts, drift)
    return TextValues(1 / samples.betas, value, SlopeData(product, score), (0.0, np.inf), False)


def text_values(samples: SweepSamples, value_n: Floats) -> TextValues:
    """Return the values of an observable of complete texts, (n,); values within [0, 1] are taken for shares."""
    is_share = bool(np.isin(value_n, (0, 1)).all())
    within = value_n.min() >= 0 and value_n.max() <= 1
    score = np.empty(len(samples))
    for beta in np.unique(samples.betas):
        own = samples.betas == beta
        score[own] = samples.select_rows(own).score(beta)[:, -1] * beta**2
    limits = (0.0, 1.0) if within else (-np.inf, np.inf)
    return TextValues(1 / samples.betas, value_n, SlopeData(value_n * score, score), limits, is_share)
