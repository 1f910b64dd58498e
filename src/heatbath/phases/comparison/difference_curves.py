"""Differences of observables between paired texts, temperature by temperature.

Each temperature is compared with its own texts, without reweighting from others: so the intervals hold for texts drawn
through windows too, and those of different temperatures are independent unless they share prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from heatbath.estimate.paired_differences import (
    Difference,
    average_units,
    estimate_mean_difference,
    estimate_share_difference,
)
from heatbath.phases.comparison.comparison_data import DifferenceCurve, Pairing
from heatbath.phases.comparison.paired_samples import SideSamples
from heatbath.phases.curves import THERMAL_RATES, second_half
from heatbath.phases.observables import TextFunction, measure_observables
from heatbath.phases.prefix_sums import SweepSamples

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def compare_observables(
    a: SideSamples, b: SideSamples, unit_n: Ints, functions: Mapping[str, TextFunction]
) -> list[DifferenceCurve]:
    """Compare every observable of paired texts; `unit_n` (n,) numbers the independent unit of each pair."""
    values_a, values_b = (_measure_texts(side, functions) for side in (a, b))
    betas = a.samples.betas
    return [_compare_values(name, betas, (values_a[name], values_b[name]), unit_n) for name in values_a]


def _measure_texts(side: SideSamples, functions: Mapping[str, TextFunction]) -> dict[str, Floats]:
    """Return the value of every observable of each text at its own temperature, (n,)."""
    rates = {name: np.empty(len(side.samples)) for name in THERMAL_RATES}
    for beta in np.unique(side.samples.betas).tolist():
        own = side.samples.betas == beta
        part = side.samples.select_rows(own)
        sums, window = part.sums_at(beta), second_half(part, part.length)
        for name, rate in THERMAL_RATES.items():
            rates[name][own] = window.mean_rate(part, rate(sums))
    return rates | measure_observables(side.samples.tokens, side.pieces, functions)


def _compare_values(name: str, betas: Floats, values: tuple[Floats, Floats], unit_n: Ints) -> DifferenceCurve:
    is_share = bool(np.isin(np.concatenate(values), (0, 1)).all())
    temperatures = np.unique(1 / betas)
    rows_k = [np.flatnonzero(1 / betas == temperature) for temperature in temperatures]
    found = [_estimate_difference(values[0][rows], values[1][rows], unit_n[rows], is_share) for rows in rows_k]
    sides = [np.array([_mean_and_error(value[rows], unit_n[rows], is_share) for rows in rows_k]).T for value in values]
    columns = (np.array([getattr(one, field) for one in found]) for field in ("value", "low", "high", "p_value"))
    return DifferenceCurve(name, temperatures, *sides[0], *sides[1], *columns)


def _estimate_difference(a_n: Floats, b_n: Floats, unit_n: Ints, is_share: bool) -> Difference:
    difference_u = average_units(b_n - a_n, unit_n)
    if is_share and len(difference_u) == len(a_n):
        return estimate_share_difference(a_n, b_n)
    if is_share and not difference_u.any():
        return estimate_share_difference(difference_u, difference_u)
    return estimate_mean_difference(difference_u)


def _mean_and_error(value_n: Floats, unit_n: Ints, is_share: bool) -> tuple[float, float]:
    """Return the mean and its standard error; that of a share of 0 or 1 is about one text."""
    value_u = average_units(value_n, unit_n)
    error = float(value_u.std(ddof=1) / np.sqrt(len(value_u)))
    return float(value_u.mean()), max(error, 1 / (len(value_u) + 2)) if is_share else error


def describe_pairing(a: SideSamples, b: SideSamples) -> Pairing:
    """Compute how alike the pairs are at each temperature."""
    temperatures = np.unique(1 / a.samples.betas)
    differs = a.samples.tokens != b.samples.tokens
    common = np.where(differs.any(1), differs.argmax(1), differs.shape[1])
    entropy = [_measure_entropy(side.samples) for side in (a, b)]
    columns: list[list[float]] = [[], [], []]
    for temperature in temperatures:
        rows = 1 / a.samples.betas == temperature
        columns[0].append(float((common[rows] == differs.shape[1]).mean()))
        columns[1].append(float(common[rows].mean()))
        columns[2].append(_variance_ratio(entropy[0][rows], entropy[1][rows]))
    return Pairing(len(differs), temperatures, *(np.array(column) for column in columns))


def _measure_entropy(samples: SweepSamples) -> Floats:
    rate: Callable[..., Floats] = THERMAL_RATES["entropy"]
    value = np.empty(len(samples))
    for beta in np.unique(samples.betas).tolist():
        own = samples.betas == beta
        part = samples.select_rows(own)
        value[own] = second_half(part, part.length).mean_rate(part, rate(part.sums_at(beta)))
    return value


def _variance_ratio(a_n: Floats, b_n: Floats) -> float:
    """Return Var a + Var b over Var(b − a); inf if all differences are equal, NaN if nothing varies."""
    unpaired, paired = float(a_n.var(ddof=1) + b_n.var(ddof=1)), float((b_n - a_n).var(ddof=1))
    if paired <= 1e-12 * unpaired:
        return float("inf") if unpaired > 0 else float("nan")
    return unpaired / paired
