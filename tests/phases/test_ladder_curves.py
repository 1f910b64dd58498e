"""Pooled curves, their responses and the ladder against models whose laws are exact."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from heatbath.engine import generate
from heatbath.estimate.smooth import CurveData
from heatbath.models import MarkovModel, Model, UrnModel
from heatbath.models.exact.base import log_probabilities
from heatbath.phases import ladder
from heatbath.phases.curves import (
    THERMAL_RATES,
    CurveFrame,
    PooledSamples,
    compute_points,
    fit_curve,
    pool_samples,
    rate_column,
    second_half,
    select_rates,
    smooth_errors,
    subtract_columns,
    text_column,
)
from heatbath.phases.ladder import build_thermodynamic_scale
from heatbath.phases.prefix_sums import SweepSamples, TextRange, compute_prefix_sums, concatenate_samples
from heatbath.phases.text_values import compute_own_sums, rate_values

LENGTH = 64
ANCHORS = np.geomspace(0.5, 2.0, 6)
BETWEEN = np.array([0.55, 0.75, 1.0, 1.3, 1.8])
MARKOV = MarkovModel.random(5, 3, scale=1.5)
URN = UrnModel(1.0)
RUNS = 16


def run(model: Model, temperatures: np.ndarray, seed: int, length: int = LENGTH):
    prompts = [()] * len(temperatures)
    return generate(model, prompts, temperature=temperatures, max_tokens=length, seed=seed, record="nodes")


def drawn(model: Model, temperatures: np.ndarray, seed: int, length: int = LENGTH) -> SweepSamples:
    arrays = run(model, temperatures, seed, length).arrays
    return compute_prefix_sums(arrays.betas, np.ascontiguousarray(arrays.tokens), arrays.record)


@pytest.fixture(scope="module")
def pools() -> dict[str, list[PooledSamples]]:
    """Independent pools of 120 texts each."""
    rungs = np.repeat(ANCHORS, 20)
    models = {"markov": MARKOV, "urn": URN}
    return {name: [pool_samples(drawn(m, rungs, seed), BETWEEN) for seed in range(RUNS)] for name, m in models.items()}


@lru_cache
def place_laws(name: str, temperature: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each of the 64 places: probabilities of the states before it (s,), and the energies they give (s, V)."""
    return list(urn_laws(temperature) if name == "urn" else markov_laws(temperature))


def urn_laws(temperature: float):
    law = np.ones(1)
    for t in range(LENGTH):
        mean = (2 * np.arange(t + 1) - t) / max(t, 1)
        energies = -mean[:, None] * np.array([-1.0, 1.0])
        yield law, energies
        step = np.exp(log_probabilities(energies, 1 / temperature))
        law = np.append(law * step[:, 0], 0.0) + np.append(0.0, law * step[:, 1])


def markov_laws(temperature: float):
    law = MARKOV.initial_distribution(1 / temperature)
    yield np.ones(1), MARKOV.next_energies(MARKOV.initial_state(1))
    for _ in range(LENGTH - 1):
        yield law, MARKOV.next_energies(np.arange(3)[:, None])
        law = law @ MARKOV.transition_matrix(1 / temperature)


def exact(name: str, quantity: str, temperature: float, first: int = LENGTH // 2) -> float:
    """A thermal observable per token from place `first` on, from the law of every place."""
    total = 0.0
    for t, (law, energies) in enumerate(place_laws(name, temperature)):
        if t >= first:
            total += law @ thermal(quantity, energies, temperature)
    return float(total / (LENGTH - first))


def thermal(quantity: str, energies: np.ndarray, temperature: float) -> np.ndarray:
    logp = log_probabilities(energies, 1 / temperature)
    p, excess = np.exp(logp), energies - energies.min(1, keepdims=True)
    mean = (p * excess).sum(1)
    variance = (p * excess**2).sum(1) - mean**2
    return {
        "energy above ground": mean,
        "surprisal": -(p * logp).sum(1),
        "surprisal at T = 1": -(p * log_probabilities(energies, 1.0)).sum(1),
        "entropy": -(p * logp).sum(1),
        "heat capacity": variance / temperature**2,
        "Fisher information of beta": variance,
    }[quantity]


def slope(function, temperature: float) -> float:
    step = 1e-4 * temperature
    return (function(temperature + step) - function(temperature - step)) / (2 * step)


def scores(points: list[CurveData], values: np.ndarray, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What was measured less what is exact, in standard errors: values and slopes, (runs, g) each."""
    value = np.array([(p.value - values) / p.value_stderr for p in points])
    return value, np.array([(p.slope - slopes) / p.slope_stderr for p in points])


def consistent(z: np.ndarray) -> bool:
    """No bias at any temperature, and nine in ten within 1.96: means of 16 runs within 4.5 / sqrt(16).

    Standard errors from a few dozen effective texts are themselves uncertain, so 90 % instead of 95 % are asked for.
    With right standard errors a false alarm has a probability below 1e-3.
    """
    return bool((np.abs(z.mean(0)) < 4.5 / np.sqrt(len(z))).all() and (np.abs(z) < 1.96).mean() > 0.88)


@pytest.mark.parametrize("quantity", list(THERMAL_RATES))
@pytest.mark.parametrize("name", ["markov", "urn"])
def test_pooled_values_and_responses_are_the_exact_ones(pools, name, quantity):
    """Those of the tokens that were drawn, and where it differs their mean given the text before."""
    values = np.array([exact(name, quantity, t) for t in BETWEEN])
    slopes = np.array([slope(lambda t: exact(name, quantity, t), t) for t in BETWEEN])
    rates = dict.fromkeys([THERMAL_RATES[quantity], select_rates(pools[name][0].samples)[quantity]])
    for chosen in rates:
        columns = [rate_column(p, chosen, second_half(p.samples, LENGTH)) for p in pools[name]]
        value, rise = scores([compute_points(column, BETWEEN) for column in columns], values, slopes)
        assert consistent(value) and consistent(rise)


def test_rates_of_drawn_tokens_are_noisier_than_their_conditional_means_and_are_kept_with_windows(pools):
    samples = pools["markov"][0].samples
    rates, half = select_rates(samples), second_half(samples, LENGTH)
    for quantity in ("energy above ground", "surprisal"):
        both = [
            rate_column(pools["markov"][0], rate, half).stderr()[0]
            for rate in (THERMAL_RATES[quantity], rates[quantity])
        ]
        assert (both[0] > both[1]).all(), quantity
    assert select_rates(replace(samples, is_reweightable=False)) is THERMAL_RATES


def test_wrong_values_and_responses_are_seen(pools):
    """The entropy of another temperature; a response of the other sign, or without its explicit part."""
    values = np.array([exact("markov", "entropy", 1.1 * t) for t in BETWEEN])
    slopes = -np.array([slope(lambda t: exact("markov", "entropy", t), t) for t in BETWEEN])
    columns = [rate_column(p, THERMAL_RATES["entropy"], second_half(p.samples, LENGTH)) for p in pools["markov"]]
    value, rise = scores([compute_points(column, BETWEEN) for column in columns], values, slopes)
    assert not consistent(value) and not consistent(rise)


def test_the_entropy_of_a_chain_is_its_entropy_rate(pools):
    """After 32 tokens the chain has forgotten its start."""
    rates = [MARKOV.entropy_rate(1 / t) for t in BETWEEN]
    assert rates == pytest.approx([exact("markov", "entropy", t) for t in BETWEEN], abs=1e-6)


def test_an_observable_of_the_text_and_its_response(pools):
    """The squared mean spin of the urn, which is known with its law; it has no explicit temperature."""
    values = np.array([URN.mean_spin_variance(LENGTH, t) for t in BETWEEN])
    slopes = np.array([slope(lambda t: URN.mean_spin_variance(LENGTH, t), t) for t in BETWEEN])
    columns = [text_column(p, (2 * p.samples.tokens.mean(1) - 1) ** 2) for p in pools["urn"]]
    value, rise = scores([compute_points(column, BETWEEN) for column in columns], values, slopes)
    assert consistent(value) and consistent(rise)
    assert not consistent(scores([compute_points(column, BETWEEN) for column in columns], values, 2 * slopes)[1])


def test_a_difference_is_the_late_less_the_early(pools):
    one = pools["urn"][0]
    late, early = (rate_column(one, THERMAL_RATES["entropy"], second_half(one.samples, n)) for n in (64, 32))
    both = subtract_columns(late, early)
    draws = np.random.default_rng(0).exponential(size=120)
    for weights in (None, draws):
        parts = [np.array(column.moments(weights)) for column in (both, late, early)]
        assert np.allclose(parts[0], parts[1] - parts[2], atol=1e-12)
    # Both are of the same texts, and so are their errors.
    own = np.hypot(late.stderr()[0], early.stderr()[0])
    assert (both.stderr()[0] < 1.5 * own).all() and not np.allclose(both.stderr()[0], own)


def test_counting_every_text_once_is_counting_them_all(pools):
    one = pools["markov"][0]
    column = rate_column(one, THERMAL_RATES["heat capacity"], TextRange(-1, one.samples.find_prefix(LENGTH)))
    assert np.allclose(column.moments(np.ones(120)), column.moments())
    assert np.allclose(column.moments(np.full(120, 0.3)), column.moments())


def test_a_bootstrap_spreads_like_the_standard_error(pools):
    """200 draws know a standard deviation to 5 %; the influence is a first-order estimate, so 25 % are allowed."""
    one = pools["urn"][1]
    column = rate_column(one, THERMAL_RATES["entropy"], second_half(one.samples, LENGTH))
    draws = np.random.default_rng(0).exponential(size=(200, 120))
    spread = np.array([column.moments(draw) for draw in draws]).std(0)
    assert np.allclose(spread, column.stderr(), rtol=0.25)


def test_steadied_errors_share_their_variance_per_text(pools):
    one = pools["markov"][2]
    column = rate_column(one, THERMAL_RATES["entropy"], second_half(one.samples, LENGTH))
    raw = compute_points(column, BETWEEN)
    even = CurveData(BETWEEN, raw.value, 0.3 / np.sqrt(one.ess()), raw.slope, raw.slope_stderr)
    assert np.allclose(smooth_errors(even, one.ess()).value_stderr, even.value_stderr)
    even.value_stderr[2] = 0.0
    assert (smooth_errors(even, one.ess()).value_stderr > 0).all()


def test_a_curve_runs_through_the_exact_values(pools):
    """The band covers nine in ten of 16 curves at 13 temperatures, five independent points each: 3 % standard error."""
    grid = np.linspace(0.6, 1.7, 13)
    values = np.array([exact("urn", "entropy", t) for t in grid])
    inside = []
    for one in pools["urn"]:
        rate, half = THERMAL_RATES["entropy"], second_half(one.samples, LENGTH)
        own = rate_values(one.samples, compute_own_sums(one.samples), rate, half)
        frame = CurveFrame(one, build_thermodynamic_scale(one.samples), grid)
        smooth = fit_curve("entropy", rate_column(one, rate, half), own, frame)
        inside.append((smooth.band[0] < values) & (values < smooth.band[1]))
        assert np.allclose(np.ptp(smooth.band, axis=0), 2 * 1.96 * smooth.stderr, rtol=1e-3)
    assert np.mean(inside) > 0.83


def test_sums_along_the_text_are_those_of_its_tokens():
    """Energies, log Z, U and Var E of each ensemble on the way, from the model's own energies."""
    result = run(MARKOV, np.repeat(ANCHORS, 2), 3)
    samples = compute_prefix_sums(result.arrays.betas, np.ascontiguousarray(result.arrays.tokens), result.arrays.record)
    assert samples.prefix_lengths.tolist() == list(range(4, 65, 4)) and samples.find_prefix(32) == 7
    session = MARKOV.open([()] * 12)
    tokens, steps = np.array(result.sequences), []
    for t in range(LENGTH):
        energies = session.energies() - session.energies().min(1, keepdims=True)
        steps.append(energies)
        session.push(tokens[:, t])
    E_ntv = np.stack(steps, axis=1)
    own = np.take_along_axis(E_ntv, tokens[:, :, None], 2)[:, :, 0]
    assert np.allclose(samples.excess_energy, own.cumsum(1)[:, samples.prefix_lengths - 1], atol=1e-4)
    for beta in (0.4, 1.0, 1.7, 5.0):
        log_z = np.log(np.exp(-beta * E_ntv).sum(2))
        p = np.exp(-beta * E_ntv - log_z[:, :, None])
        mean = (p * E_ntv).sum(2)
        assert np.allclose(
            samples.log_z.log_z(beta), log_z.cumsum(1)[:, samples.prefix_lengths - 1], atol=LENGTH * 1e-4
        )
        assert np.allclose(
            samples.score(beta), (own - mean).cumsum(1)[:, samples.prefix_lengths - 1], atol=LENGTH * 1e-3
        )
        assert np.allclose(
            samples.log_probability(beta),
            (-beta * own - log_z).cumsum(1)[:, samples.prefix_lengths - 1],
            atol=LENGTH * 1e-4,
        )


def test_the_law_of_a_whole_text_is_the_models():
    samples = drawn(MARKOV, ANCHORS, 4)
    for t in (0.5, 1.0, 2.0):
        expected = [MARKOV.logprob(row.tolist(), 1 / t) for row in samples.tokens]
        assert samples.log_probability(1 / t)[:, -1] == pytest.approx(expected, abs=LENGTH * 1e-4)


def test_runs_are_put_together_and_taken_apart():
    parts = [drawn(URN, ANCHORS, seed) for seed in (0, 1)]
    both = concatenate_samples(parts)
    back = both.select_rows(np.arange(6, 12))
    assert len(both) == 12 and np.array_equal(back.tokens, parts[1].tokens)
    assert np.array_equal(back.log_probability(0.8), parts[1].log_probability(0.8))


def test_prefix_weights_average_to_one():
    """Over 16 pools, within 4.5 of their own standard errors, at every place and temperature."""
    means = np.array(
        [ladder.pooled_weights(drawn(URN, np.repeat(ANCHORS, 10), s), BETWEEN, range(16)).mean(1) for s in range(16)]
    )
    z = (means.mean(0) - 1) / (means.std(0, ddof=1) / np.sqrt(16))
    assert (np.abs(z) < 4.5).all()


def test_longer_prefixes_weigh_less_evenly():
    sizes = ladder.effective_size(ladder.pooled_weights(drawn(MARKOV, np.repeat(ANCHORS, 20), 0), BETWEEN, [0, 15])[0])
    whole = ladder.effective_sizes(drawn(MARKOV, np.repeat(ANCHORS, 20), 0), BETWEEN)
    assert (sizes > whole).all()


def lengths(temperatures: np.ndarray) -> np.ndarray:
    """Exact thermodynamic lengths of whole texts between neighbouring temperatures."""

    def speed(beta: float) -> float:
        return float(np.sqrt(LENGTH * exact("markov", "Fisher information of beta", 1 / beta, 0)))

    out = []
    for low, high in zip(1 / temperatures[1:], 1 / temperatures[:-1], strict=True):
        out.append(np.mean([speed(beta) for beta in np.linspace(low, high, 5)]) * (high - low))
    return np.array(out)


def test_anchors_are_equally_far_apart():
    """The information is measured at 12 temperatures with 20 texts each: lengths are equal to 15 %."""
    samples = drawn(MARKOV, np.repeat(np.geomspace(0.25, 3.0, 12), 20), 1)
    anchors = ladder.equal_length_ladder(samples, 0.25, 3.0, 9)
    assert anchors[[0, -1]] == pytest.approx([0.25, 3.0]) and (np.diff(anchors) > 0).all()
    equal, geometric = lengths(anchors), lengths(ladder.geometric_ladder(0.25, 3.0, 9))
    assert equal.max() < 1.15 * equal.min()
    assert geometric.max() > 1.5 * geometric.min()


def test_the_next_batch_goes_where_weights_are_thinnest():
    samples = drawn(MARKOV, np.repeat(np.array([0.5, 0.55, 0.6]), 20), 2)
    anchors = ladder.geometric_ladder(0.5, 2.0, 5)
    rows = ladder.choose_batch_temperatures(samples, anchors, 8)
    values, counts = np.unique(rows, return_counts=True)
    assert len(rows) == 8 and counts.tolist() == [4, 4]
    places = np.sort(np.concatenate([anchors, np.sqrt(anchors[1:] * anchors[:-1])]))
    worst = places[np.argsort(ladder.effective_sizes(samples, places))[:2]]
    assert values == pytest.approx(np.sort(worst)) and values.min() > 0.7
    assert len(ladder.choose_batch_temperatures(samples, anchors, 11)) == 11
