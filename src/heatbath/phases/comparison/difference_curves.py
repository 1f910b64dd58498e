"""Differences of observables between paired texts, temperature by temperature.

Each temperature is compared with its own texts, without reweighting from others: so the intervals hold for texts drawn
through windows too, and those of different temperatures are independent unless they share prompts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.paired_differences import (
    Difference,
    estimate_share_difference,
    estimate_weighted_difference,
    weighted_mean_error,
)
from heatbath.phases.comparison.comparison_data import DifferenceCurve, Pairing
from heatbath.phases.comparison.paired_samples import SideSamples
from heatbath.phases.curves import THERMAL_RATES, averaging_range, select_rates
from heatbath.phases.observables import TextFunction, measure_observables
from heatbath.phases.text_values import TextValues, compute_own_sums, rate_values, text_values

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def compare_observables(
    a: SideSamples, b: SideSamples, unit_n: Ints, functions: Mapping[str, TextFunction]
) -> list[DifferenceCurve]:
    """Compare every observable of paired texts; `unit_n` (n,) numbers the independent unit of each pair."""
    values_a, values_b = (_measure_texts(side, functions) for side in (a, b))
    return [_compare_values(name, values_a[name], values_b[name], unit_n) for name in values_a]


def _measure_texts(side: SideSamples, functions: Mapping[str, TextFunction]) -> dict[str, TextValues]:
    """Return the value of every observable of each text at its own temperature."""
    samples = side.samples
    window, sums = averaging_range(samples), compute_own_sums(samples)
    texts = measure_observables(samples.tokens, side.pieces, functions, may_end=samples.may_end)
    rates = {name: rate_values(samples, sums, rate, window) for name, rate in select_rates(samples).items()}
    return rates | {name: text_values(samples, value) for name, value in texts.items()}


def _compare_values(name: str, a: TextValues, b: TextValues, unit_n: Ints) -> DifferenceCurve:
    temperatures = np.unique(a.temperature)
    rows_k = [np.flatnonzero(a.temperature == temperature) for temperature in temperatures]
    is_share = a.is_share and b.is_share
    found = [_estimate_difference(a, b, rows, unit_n[rows]) for rows in rows_k]
    sides = [np.array([_mean_and_error(side, rows, unit_n[rows], is_share) for rows in rows_k]).T for side in (a, b)]
    columns = (np.array([getattr(one, field) for one in found]) for field in ("value", "low", "high", "p_value"))
    return DifferenceCurve(name, temperatures, *sides[0], *sides[1], *columns)


def _estimate_difference(a: TextValues, b: TextValues, rows: Ints, unit_r: Ints) -> Difference:
    a_r, b_r = a.value[rows], b.value[rows]
    if a.is_share and b.is_share:
        units = len(np.unique(unit_r))
        if units == len(rows):
            return estimate_share_difference(a_r, b_r)
        if (a_r == b_r).all():
            return estimate_share_difference(np.zeros(units), np.zeros(units))
    return estimate_weighted_difference((a_r, a.weight[rows]), (b_r, b.weight[rows]), unit_r)


def _mean_and_error(values: TextValues, rows: Ints, unit_r: Ints, is_share: bool) -> tuple[float, float]:
    """Return the mean and its standard error; that of a share of 0 or 1 is about one text."""
    mean, error = weighted_mean_error(values.value[rows], values.weight[rows], unit_r)
    return mean, max(error, 1 / (len(np.unique(unit_r)) + 2)) if is_share else error


def describe_pairing(a: SideSamples, b: SideSamples) -> Pairing:
    """Compute how alike the pairs are at each temperature."""
    temperature_n = 1 / a.samples.betas
    temperatures = np.unique(temperature_n)
    differs = a.samples.tokens != b.samples.tokens
    common = np.where(differs.any(1), differs.argmax(1), np.maximum(a.samples.lengths, b.samples.lengths))
    entropy = [_measure_entropy(side) for side in (a, b)]
    columns: list[list[float]] = [[], [], []]
    for temperature in temperatures:
        rows = temperature_n == temperature
        columns[0].append(float((~differs[rows].any(1)).mean()))
        columns[1].append(float(common[rows].mean()))
        columns[2].append(_variance_ratio(entropy[0][rows], entropy[1][rows]))
    return Pairing(len(differs), temperatures, *(np.array(column) for column in columns))


def _measure_entropy(side: SideSamples) -> Floats:
    samples = side.samples
    values = rate_values(samples, compute_own_sums(samples), THERMAL_RATES["entropy"], averaging_range(samples))
    return values.value


def _variance_ratio(a_n: Floats, b_n: Floats) -> float:
    """Return Var a + Var b over Var(b − a); inf if all differences are equal, NaN if nothing varies."""
    unpaired, paired = float(a_n.var(ddof=1) + b_n.var(ddof=1)), float((b_n - a_n).var(ddof=1))
    if paired <= 1e-12 * unpaired:
        return float("inf") if unpaired > 0 else float("nan")
    return unpaired / paired
