"""Tests by betting: their capital is at most 1 on average, false alarms are rare, and what is wrong is found soon."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binom, kstest

from heatbath.trust.calibration import SignalDescription, SignalTable, choose_fit
from heatbath.trust.calibration.cross_validation import FitChoice
from heatbath.trust.monitoring import (
    ALPHA,
    BettingMixture,
    CalibrationMonitor,
    RankTest,
    label_factors,
    log_capital_path,
    rank_factors,
)
from heatbath.trust.monitoring.martingales import LABEL_BETS, NUM_RANK_BETS

STREAMS = 2_000
LIMIT = -math.log(ALPHA)
MOST_ALARMS = int(binom.ppf(0.999, STREAMS, ALPHA))
"""More false alarms than this in all streams happen once in 1,000 runs, if their probability is alpha."""

shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-300, 0.01, 0.5, 0.99, 1 - 1e-16, 1.0]))


@given(p=shares)
def test_bets_on_labels_are_fair_at_any_confidence(p: float) -> None:
    wrong, right = label_factors(np.array([p, p]), np.array([0, 1]))
    assert (wrong > 0).all() and (right > 0).all()
    mean = p * right + (1 - p) * wrong
    assert (mean <= 1 + 1e-12).all()
    if 0.01 <= p <= 0.99:
        assert mean == pytest.approx(1.0)


def test_bets_on_ranks_are_fair() -> None:
    rank = (np.arange(20_000) + 0.5) / 20_000
    factors = rank_factors(rank)
    assert factors.shape == (20_000, NUM_RANK_BETS) and (factors > 0).all()
    assert (rank_factors([0.0, 0.5, 1.0]) > 0).all()
    assert factors.mean(0) == pytest.approx(np.ones(NUM_RANK_BETS), abs=1e-7)


@given(p=st.lists(shares, min_size=1, max_size=7))
def test_the_capital_is_one_on_average_over_all_labels(p: list[float]) -> None:
    """Every sequence of labels, each with its probability under a calibrated confidence."""
    total = 0.0
    for labels in itertools.product((0, 1), repeat=len(p)):
        chance = math.prod(q if y else 1 - q for q, y in zip(p, labels, strict=True))
        path = log_capital_path(label_factors(np.array(p), np.array(labels)))
        total += chance * math.exp(path[-1])
    assert total <= 1 + 1e-9
    if all(0.01 <= q <= 0.99 for q in p):
        assert total == pytest.approx(1.0)


@given(st.lists(st.tuples(shares, st.booleans()), min_size=1, max_size=40))
def test_a_step_at_a_time_and_all_at_once_are_the_same(labels: list[tuple[float, bool]]) -> None:
    p, y = np.array(labels, np.float64).T
    factors = label_factors(p, y)
    mixture, seen = BettingMixture(len(LABEL_BETS)), []
    for row in factors:
        mixture.update(row)
        seen.append(mixture.log_capital)
    assert seen == pytest.approx(log_capital_path(factors).tolist(), abs=1e-9)
    assert mixture.log_peak == pytest.approx(max(0.0, *seen), abs=1e-9)
    whole = BettingMixture.from_factors(factors)
    for each in (mixture, whole):
        each.update(factors[0])
    assert whole.log_capital == pytest.approx(mixture.log_capital, abs=1e-9)
    assert (whole.steps, whole.log_peak) == (mixture.steps, pytest.approx(mixture.log_peak, abs=1e-9))


def alarm_times(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The number of labels until the alarm of each stream, inf for none."""
    is_over = log_capital_path(label_factors(p, y)) >= LIMIT
    return np.where(is_over.any(-1), is_over.argmax(-1) + 1.0, np.inf)


def test_calibrated_labels_raise_few_false_alarms() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(2, 1, (STREAMS, 400))
    alarms = np.isfinite(alarm_times(p, rng.random(p.shape) < p))
    assert alarms.sum() <= MOST_ALARMS
    # The control: the same streams with log-odds that are half a nat too high.
    wrong = np.isfinite(alarm_times(p, rng.random(p.shape) < expit(logit(p) - 0.5)))
    assert wrong.mean() > 0.7


@pytest.mark.parametrize(("shift", "needed"), [(-2.0, 50), (-1.0, 160), (1.0, 200)])
def test_a_wrong_confidence_is_found_within_so_many_labels(shift: float, needed: int) -> None:
    """Of 500 streams with log-odds that are off by `shift`, 95 % raise the alarm within `needed` labels."""
    rng = np.random.default_rng(1)
    p = rng.beta(2, 1, (500, needed))
    times = alarm_times(p, rng.random(p.shape) < expit(logit(p) + shift))
    assert np.isfinite(times).mean() >= 0.95


def test_a_late_change_is_found_as_well() -> None:
    """Log-odds that are 2 too high from the 1,001st label on are found within 100 labels in 95 % of streams."""
    rng = np.random.default_rng(2)
    p = rng.beta(2, 1, (300, 1_100))
    truth = np.where(np.arange(1_100) < 1_000, p, expit(logit(p) - 2.0))
    times = alarm_times(p, rng.random(p.shape) < truth)
    assert np.isfinite(times).mean() >= 0.95 and (times <= 1_000).mean() <= 0.03


def rank_streams(sample: np.ndarray, stream: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ranks (n, T) of each value of streams among a sample (n, m) and what came before, ties by chance."""
    values, m = np.concatenate([sample, stream], axis=1), sample.shape[1]
    ranks = np.empty(stream.shape)
    for t in range(stream.shape[1]):
        before, now = values[:, : m + t], values[:, m + t, None]
        ties = (before == now).sum(1)
        ranks[:, t] = ((before < now).sum(1) + rng.random(len(values)) * (ties + 1)) / (m + t + 1)
    return ranks


def test_confidences_of_the_calibration_raise_few_false_alarms() -> None:
    """With a small sample too, whose distribution function is far from the true one; values are tied in steps."""
    rng = np.random.default_rng(3)
    sample = np.round(rng.beta(2, 1, (STREAMS, 30)), 2)
    same = np.round(rng.beta(2, 1, (STREAMS, 200)), 2)
    path = log_capital_path(rank_factors(rank_streams(sample, same, rng)))
    assert (path.max(1) >= LIMIT).sum() <= MOST_ALARMS
    # The control: other questions, whose confidence is lower.
    sample = np.round(rng.beta(2, 1, (300, 200)), 2)
    lower = np.round(rng.beta(1, 1.5, (300, 150)), 2)
    path = log_capital_path(rank_factors(rank_streams(sample, lower, rng)))
    assert (path.max(1) >= LIMIT).mean() >= 0.95


def test_ranks_are_uniform_and_independent_of_the_sample() -> None:
    rng = np.random.default_rng(4)
    ranks = []
    for seed in range(150):
        test = RankTest(rng.random(20), seed=seed)
        ranks += [test.take_rank(value) for value in rng.random(20)]
    assert kstest(ranks, "uniform").pvalue > 1e-3
    test = RankTest([0.0, 1.0], seed=0)
    assert 0 <= test.take_rank(0.0) <= 2 / 3 and test.take_rank(1.0) >= 1 / 2


def test_what_came_before_counts_as_usual() -> None:
    """The first of many equal confidences is above the whole sample, the later ones are among their own kind."""
    test = RankTest([0.05] * 20, seed=0)
    ranks = [test.take_rank(0.95) for _ in range(200)]
    assert ranks[0] > 0.9 and 0.4 < np.mean(ranks[100:]) < 0.7


def build_group(rng: np.random.Generator, count: int, offset: float) -> SignalTable:
    """Answers whose signal means something else in another group."""
    signal = rng.normal(size=count)
    labels = rng.random(count) < expit(1.5 * signal + offset)
    return SignalTable((SignalDescription("s"),), signal[:, None], labels.astype(int))


def test_a_calibrator_of_one_group_fails_on_another() -> None:
    rng = np.random.default_rng(5)
    chosen = choose_fit(build_group(rng, 400, 1.0), FitChoice(fits=("platt",)), seed=0)
    alarms = {}
    for name, offset in (("same", 1.0), ("other", -0.5)):
        monitor, table = CalibrationMonitor(), build_group(rng, 200, offset)
        for i, (p, y) in enumerate(zip(chosen.predict(table).tolist(), table.labels.tolist(), strict=True)):
            monitor.add_label(f"a{i}", 0, p, is_right=bool(y))
        alarms[name] = monitor.is_stale
    assert alarms == {"same": False, "other": True}


def test_a_label_that_changes_counts_once_and_one_of_each_answer_is_tested() -> None:
    monitor = CalibrationMonitor()
    for i in range(60):
        monitor.add_label(f"a{i}", 0, 0.9, is_right=False)
    assert monitor.is_stale and monitor.reasons == ["the labels of 60 answers contradict their confidence"]
    for i in range(60):
        monitor.add_label(f"a{i}", 0, 0.9, is_right=i % 10 != 0)
        monitor.add_label(f"a{i}", 1, 0.9, is_right=False)
    assert not monitor.is_stale and monitor.num_labels == 120
    fresh = CalibrationMonitor()
    for i in range(60):
        fresh.add_label(f"a{i}", 0, 0.9, is_right=i % 10 != 0)
    found = monitor.describe()
    assert monitor.evidence["labels"] == pytest.approx(fresh.evidence["labels"])
    assert found["labels"]["count"] == 120 and found["labels"]["tested"] == 60
    (full,) = [one for one in found["reliability"] if one["count"]]
    assert (full["count"], full["right"]) == (120, 54) and full["confidence"] == pytest.approx(0.9)
    low, high = full["interval"]
    assert low < full["share"] < high


def test_without_a_sample_there_is_no_test_of_the_distribution() -> None:
    monitor = CalibrationMonitor([0.5] * 19)
    for _ in range(500):
        monitor.add_confidence(1.0)
    assert not monitor.is_stale and set(monitor.evidence) == {"labels"}
    assert monitor.describe()["distribution"]["counts"][-1] == 500
