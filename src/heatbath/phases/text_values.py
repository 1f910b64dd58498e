"""Values of each text at its own temperature, which are independent, and the curves that run through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.curve_regression import FittedCurve, MeanData, fit_mean_curve, fit_share_curve
from heatbath.phases.ladder import ThermodynamicScale
from heatbath.phases.prefix_sums import PrefixSums, RateFunction, SweepSamples, TextRange

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TextValues:
    """An observable of each text at its own temperature, (n,).

    A text counts in proportion to its `weight`. `limits` are the smallest and the largest mean that the observable can
    have, and `resolution` its smallest change. If `is_share`, values are 0 or 1.
    """

    temperature: Floats
    value: Floats
    weight: Floats
    limits: tuple[float, float]
    is_share: bool
    resolution: float

    def fit(self, scale: ThermodynamicScale, temperatures: Floats) -> FittedCurve:
        """Fit the curve of the mean at `temperatures` (g,); slopes are by temperature."""
        place_n, place_g = scale.places(self.temperature), scale.places(temperatures)
        if self.is_share:
            fitted = fit_share_curve(place_n, self.value, place_g)
        else:
            data = MeanData(place_n, self.value, self.weight, self.resolution)
            fitted = fit_mean_curve(data, place_g)
        rate = scale.rates(temperatures)
        return FittedCurve(
            fitted.value.clip(*self.limits),
            fitted.low.clip(*self.limits),
            fitted.high.clip(*self.limits),
            fitted.slope * rate,
            fitted.slope_stderr * rate,
        )


@dataclass(frozen=True)
class OwnSums:
    """The prefix sums of the texts of one temperature, `rows` (r,), at that temperature."""

    rows: Ints
    texts: SweepSamples
    at: PrefixSums


def compute_own_sums(samples: SweepSamples) -> list[OwnSums]:
    """Compute the sums of every text at its own temperature, temperature by temperature."""
    result = []
    for beta in np.unique(samples.betas).tolist():
        rows = np.flatnonzero(samples.betas == beta)
        texts = samples.select_rows(rows)
        result.append(OwnSums(rows, texts, texts.sums_at(beta)))
    return result


def rate_values(samples: SweepSamples, sums: Sequence[OwnSums], rate: RateFunction, window: TextRange) -> TextValues:
    """Return the values of a rate per token over a range, which is not negative.

    Where texts may end by themselves, the value is the mean over the tokens that are there, and each text counts in
    proportion to them.
    """
    present = window.share_present(samples) if samples.may_end else np.ones(len(samples))
    value = np.empty(len(samples))
    for own in sums:
        tokens = np.where(present[own.rows] > 0, present[own.rows], 1.0)
        value[own.rows] = window.mean_rate(own.texts, rate(own.at)) / tokens
    return TextValues(1 / samples.betas, value, present, (0.0, np.inf), False, 0.0)


def text_values(samples: SweepSamples, value_n: Floats) -> TextValues:
    """Return the values of an observable of complete texts, (n,); values within [0, 1] are taken for shares."""
    is_share = bool(np.isin(value_n, (0, 1)).all())
    is_within = bool(value_n.min() >= 0 and value_n.max() <= 1)
    limits = (0.0, 1.0) if is_within else (-np.inf, np.inf)
    # A share of tokens changes by one token; of other observables nothing is known but the differences seen.
    resolution = 1 / samples.length if is_within else float(np.diff(np.unique(value_n)).min(initial=np.inf))
    resolution = resolution if np.isfinite(resolution) else 0.0
    return TextValues(1 / samples.betas, value_n, np.ones(len(samples)), limits, is_share, resolution)
