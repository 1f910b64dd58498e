"""The 95 % bands of all curves cover the true curves of exact models.

A place where an observable varies hardly at all, such as the coldest temperatures, is covered by any band that is not
of width zero. So shares are looked at where they are between 2 and 98 %, and means where texts of one temperature
spread by a resolution step and by 5 % of the overall spread, which are the floors of the noise in `curve_regression`.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import numpy as np
import pytest

from heatbath.engine import generate
from heatbath.models import MarkovModel, RandomEnergyModel, UrnModel
from heatbath.models.exact.base import ExactModel
from heatbath.phases.curves import second_half, select_rates, wilson_interval
from heatbath.phases.ladder import build_thermodynamic_scale
from heatbath.phases.observables import measure_observables
from heatbath.phases.prefix_sums import SweepSamples, compute_prefix_sums
from heatbath.phases.text_values import TextValues, compute_own_sums, rate_values, text_values

MODELS: dict[str, tuple[ExactModel, int, float, float]] = {
    "chain of 3": (MarkovModel.random(3, 3), 32, 0.15, 2.0),
    "chain of 5": (MarkovModel.random(5, 5, scale=1.5), 64, 0.25, 2.0),
    "urn": (UrnModel(1.0), 32, 0.3, 2.0),
    "sticky chain": (MarkovModel(np.random.default_rng(0).normal(0, 0.7, (6, 6)) - 4 * np.eye(6)), 32, 0.3, 2.5),
    "random energies": (RandomEnergyModel(16, seed=1), 16, 0.2, 2.0),
    "chain of 24": (MarkovModel.random(7, 24), 32, 0.2, 2.0),
}
TEXTS, ANCHORS = 320, 16
TRUE_TEXTS = 4000


def draw(model: ExactModel, temperatures: np.ndarray, length: int, seed: int) -> SweepSamples:
    run = generate(
        model, [()] * len(temperatures), temperature=temperatures, max_tokens=length, seed=seed, record="nodes"
    )
    arrays = run.arrays
    assert arrays.record is not None
    return compute_prefix_sums(arrays.betas, np.ascontiguousarray(arrays.tokens), arrays.record)


def observe(model: ExactModel, samples: SweepSamples) -> dict[str, TextValues]:
    """All observables of the texts of a sweep, as the curves of its map are fitted to."""
    sums, window = compute_own_sums(samples), second_half(samples, samples.length)
    pieces = [[model.token_bytes(token) for token in row] for row in samples.tokens.tolist()]
    own = {name: rate_values(samples, sums, rate, window) for name, rate in select_rates(samples).items()}
    texts = measure_observables(samples.tokens, pieces, {})
    return own | {name: text_values(samples, value) for name, value in texts.items()}


@cache
def true_curves(name: str, temperatures: tuple[float, ...], texts: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The mean of every observable at a few temperatures, and whether it varies there, from many texts at each."""
    model, length, *_ = MODELS[name]
    samples = draw(model, np.repeat(temperatures, texts), length, 99)
    found = {}
    for key, own in observe(model, samples).items():
        value = own.value.reshape(len(temperatures), -1)
        mean, spread = value.mean(1), value.std(1)
        steps = own.resolution if own.limits[1] == 1 else 0.0
        varies = (spread > max(steps, 0.05 * value.std())) & (spread > 1e-9 * np.abs(mean))
        found[key] = mean, (mean > 0.02) & (mean < 0.98) if own.is_share else varies
    return found


def looked_at(name: str, places: int) -> tuple[float, ...]:
    """A few temperatures inside the range of a model."""
    *_, low, high = MODELS[name]
    return tuple(np.geomspace(low * 1.05, high * 0.95, places).tolist())


def cover(name: str, *, runs: int, seed: int, places: int, true_texts: int) -> dict[str, np.ndarray]:
    """For every observable, how far the true curve is off in half widths of the band: (runs, places that vary)."""
    model, length, low, high = MODELS[name]
    ladder = np.resize(np.geomspace(low, high, ANCHORS), TEXTS)
    temperatures = looked_at(name, places)
    true = true_curves(name, temperatures, true_texts)
    every = draw(model, np.tile(ladder, runs), length, seed)
    found = defaultdict(list)
    for run in range(runs):
        samples = every.select_rows(np.arange(run * TEXTS, (run + 1) * TEXTS))
        scale = build_thermodynamic_scale(samples)
        for key, own in observe(model, samples).items():
            fitted, (value, inner) = own.fit(scale, np.array(temperatures)), true[key]
            side = np.where(value > fitted.value, fitted.high - fitted.value, fitted.value - fitted.low)
            found[key].append(np.abs(value - fitted.value)[inner] / np.maximum(side[inner], 1e-300))
    return {key: np.array(rows) for key, rows in found.items()}


def summarize(found: list[dict[str, np.ndarray]], width: float = 1.0) -> dict[str, tuple[float, float]]:
    """The coverage of every observable over all models and places, and its standard error from the runs."""
    result = {}
    for key in found[0]:
        covered = [one[key] <= width for one in found if one[key].size]
        if covered:
            share = np.array([rows.mean() for rows in covered])
            error = np.array([rows.mean(1).std(ddof=1) / np.sqrt(len(rows)) for rows in covered])
            size = np.array([rows.shape[1] for rows in covered]) / sum(rows.shape[1] for rows in covered)
            result[key] = float(size @ share), float(np.sqrt(size**2 @ error**2))
    return result


@cache
def few_runs() -> list[dict[str, np.ndarray]]:
    return [cover(name, runs=4, seed=7, places=4, true_texts=400) for name in ("urn", "sticky chain")]


def test_bands_cover_the_true_curve_of_every_observable() -> None:
    """Bands of 4 runs of two models: 95 % over all, and no observable far below.

    The mean over all has a standard error of about 1.5 %, since the curves of a run are correlated; a single observable
    has one of 4 %. The slow test has the precision to tell 93 from 95 %.
    """
    found = summarize(few_runs())
    assert 0.90 < np.mean([share for share, _ in found.values()]) < 0.99
    for key, (share, _) in found.items():
        assert share > 0.8, key


def test_bands_of_half_the_width_do_not_cover() -> None:
    """The coverage of half the width is 67 %."""
    assert np.mean([share for share, _ in summarize(few_runs(), 0.5).values()]) < 0.85


@pytest.mark.slow
def test_bands_cover_between_93_and_97_percent_for_every_observable() -> None:
    """40 runs of each model: coverage of 93 to 97 %, within two standard errors, which are 0.6 to 1.1 %.

    Seen: 94.9 to 96.8 %. Energies and surprisals of drawn tokens, in place of their conditional means, cover less: the
    surprisal 92 to 93 %.
    """
    found = [cover(name, runs=40, seed=1000, places=9, true_texts=TRUE_TEXTS) for name in MODELS]
    for key, (share, error) in (shares := summarize(found)).items():
        print(
            f"{key:28} {share:.3f} +- {error:.3f}", [f"{(one[key] <= 1).mean():.3f}" for one in found if one[key].size]
        )
    for key, (share, error) in shares.items():
        assert error < 0.012, key
        assert 0.93 - 2 * error < share < 0.97 + 2 * error, key


def test_wilson_intervals_of_shares_lie_within_0_and_1_and_never_vanish() -> None:
    share, count = np.array([0.0, 0.0, 0.1, 1.0]), np.array([1.0, 40.0, 20.0, 5.0])
    low, high = wilson_interval(share, count)
    assert (low >= 0).all() and (high <= 1).all() and (high - low > 0.05).all()
    assert low[0] == 0 and high[3] == 1 and high[1] == pytest.approx(0.0876, abs=1e-3)
