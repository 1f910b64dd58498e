"""Metrics against scikit-learn, brute force and hand-made edges; ranking, bootstrap and corrections."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as oracle

from heatbath.errors import BadInput
from heatbath.estimate.proportion import error_interval
from heatbath.trust.calibration.metric_summary import METRICS, summarize_groups, summarize_metrics
from heatbath.trust.calibration.ranking_metrics import (
    area_under_risk_coverage,
    area_under_roc,
    prediction_rejection_ratio,
    risk_coverage,
    weighted_areas,
)
from heatbath.trust.calibration.reliability import (
    EQUAL_MASS,
    brier_score,
    calibration_error,
    negative_log_likelihood,
    reliability_bins,
)
from heatbath.trust.calibration.signal_ranking import (
    adjust_p_values,
    draw_counts,
    estimate_simultaneously,
    rank_signals,
)
from heatbath.trust.calibration.signal_table import SignalDescription, SignalTable

PROBABILITIES = st.sampled_from([0.0, 1e-300, 0.1, 0.3, 0.5, 0.7, 1 - 1e-16, 1.0]) | st.floats(0, 1)
PAIRS = st.lists(st.tuples(PROBABILITIES, st.integers(0, 1)), min_size=1, max_size=40)
BOTH = PAIRS.filter(lambda pairs: len({label for _, label in pairs}) == 2)


def unzip(pairs):
    p, y = zip(*pairs, strict=True)
    return np.array(p), np.array(y)


@given(BOTH)
def test_ranking_and_brier_equal_those_of_scikit_learn(pairs):
    p, y = unzip(pairs)
    assert area_under_roc(p, y) == pytest.approx(oracle.roc_auc_score(y, p), abs=1e-12)
    assert brier_score(p, y) == pytest.approx(oracle.brier_score_loss(y, p), abs=1e-12)


@given(st.lists(st.tuples(st.floats(1e-9, 1 - 1e-9), st.integers(0, 1)), min_size=1, max_size=40))
def test_nll_equals_that_of_scikit_learn_inside(pairs):
    p, y = unzip(pairs)
    assert negative_log_likelihood(p, y) == pytest.approx(oracle.log_loss(y, p, labels=[0, 1]), rel=1e-9)


def test_nll_of_what_was_said_to_be_impossible_is_infinite_and_of_a_certainty_zero():
    assert negative_log_likelihood([0.0], [1]) == np.inf
    assert negative_log_likelihood([1.0], [0]) == np.inf
    assert negative_log_likelihood([1.0, 0.0], [1, 0]) == 0.0


@pytest.mark.parametrize("y", [[1, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 0, 0, 0, 0]])
@pytest.mark.parametrize("p", [[0.5, 0.5, 0.5, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4, 0.5], [0.5] * 5])
def test_risk_is_its_mean_over_all_orders_of_tied_answers(p, y):
    orders = [order for order in itertools.permutations(range(5)) if all(np.diff(np.array(p)[list(order)]) <= 0)]
    risks = [np.cumsum(1 - np.array(y)[list(order)]) / np.arange(1, 6) for order in orders]
    assert risk_coverage(p, y).risk == pytest.approx(np.mean(risks, axis=0))
    assert area_under_risk_coverage(p, y) == pytest.approx(np.mean(risks))


@given(BOTH, st.randoms())
def test_no_metric_depends_on_the_order_of_the_rows(pairs, random):
    shuffled = pairs.copy()
    random.shuffle(shuffled)
    for metric in METRICS.values():
        assert metric(*unzip(pairs)) == pytest.approx(metric(*unzip(shuffled)), rel=1e-9, abs=1e-12)


@given(BOTH)
def test_prr_is_one_for_the_best_order_and_zero_for_none(pairs):
    _, y = unzip(pairs)
    assert prediction_rejection_ratio(y, y) == pytest.approx(1.0)
    assert prediction_rejection_ratio(np.zeros(len(y)), y) == pytest.approx(0.0, abs=1e-12)
    assert prediction_rejection_ratio(-y, y) <= 1e-12


@given(PAIRS, st.integers(1, 30))
def test_every_answer_is_in_one_bin(pairs, bins):
    p, y = unzip(pairs)
    for rule in ("equal width", "equal mass"):
        found = reliability_bins(p, y, bins=bins, rule=rule)
        assert sum(one.count for one in found) == len(y)
        assert sum(one.count * one.accuracy for one in found) == pytest.approx(y.sum())
        assert sum(one.count * one.confidence for one in found) == pytest.approx(p.sum())
        assert all(one.low <= one.accuracy <= one.high for one in found)


def test_edges_of_the_ece_count_once():
    # 0.0 and 1.0 are in the first and the last bin; a bound belongs to the bin above it.
    bins = reliability_bins([0.0, 1.0, 0.3, 0.3, 0.1], [0, 1, 1, 0, 0], bins=10)
    assert [(one.count, round(one.confidence, 3)) for one in bins] == [(1, 0.0), (1, 0.1), (2, 0.3), (1, 1.0)]
    assert calibration_error([0.0, 1.0], [0, 1]) == 0.0
    assert calibration_error([0.0, 1.0], [1, 0]) == 1.0


@pytest.mark.parametrize("k", range(1, 20))
def test_a_bound_as_it_is_written_opens_its_bin(k):
    bins = reliability_bins([float(f"0.{k:02d}") if k < 100 else 1.0, 0.005], [1, 0], bins=100)
    assert len(bins) == 2
    assert calibration_error([k / 20, k / 20 - 1e-9], [1, 0], bins=20) == pytest.approx(0.5, abs=0.5)
    assert len(reliability_bins([k / 20, k / 20 - 1e-9], [1, 0], bins=20)) == 2


def test_one_bin_that_holds_all_compares_the_means():
    p, y = np.array([0.2, 0.4, 0.9]), np.array([0, 1, 1])
    for rule in ("equal width", "equal mass"):
        assert calibration_error(p, y, bins=1, rule=rule) == pytest.approx(abs(p.mean() - y.mean()))
    assert calibration_error([0.55, 0.56, 0.58], [1, 1, 0], bins=10) == pytest.approx(2 / 3 - 0.5633333, abs=1e-6)


def test_equal_mass_never_parts_equal_probabilities():
    bins = reliability_bins([0.5] * 7 + [0.9], [1] * 8, bins=4, rule=EQUAL_MASS)
    assert [one.count for one in bins] == [7, 1]
    even = reliability_bins(np.arange(20) / 20, [1] * 20, bins=5, rule=EQUAL_MASS)
    assert [one.count for one in even] == [4] * 5


@pytest.mark.parametrize(("right", "size"), [(0, 5), (5, 5), (1, 40), (20, 40), (399, 400)])
def test_intervals_are_those_of_clopper_and_pearson(right, size):
    low, high = error_interval(np.array([float(right)]), np.array([float(size)]))
    exact = binomtest(right, size).proportion_ci(0.95, method="exact")
    assert (float(low[0]), float(high[0])) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize(
    ("p", "y", "words"),
    [
        ([0.5, 1.5], [0, 1], "a probability must be in"),
        ([0.5, np.nan], [0, 1], "a probability must be in"),
        ([0.5, 0.5], [0, 2], "a label must be 0"),
        ([0.5, 0.5], [0, 0.5], "a label must be 0"),
        ([0.5, 0.5], ["yes", "no"], "a label must be 0"),
        ([0.5], [0, 1], "one probability per label"),
        ([], [], "must be one 0 or 1 per answer"),
    ],
)
def test_bad_labels_and_probabilities_are_refused_in_one_sentence(p, y, words):
    with pytest.raises(BadInput, match=words) as caught:
        brier_score(p, y)
    assert "\n" not in str(caught.value)


def test_metrics_of_order_refuse_labels_of_one_kind_and_scores_that_are_not_finite():
    for metric in (area_under_roc, prediction_rejection_ratio):
        with pytest.raises(BadInput, match="right and wrong answers, got 2 right of 2"):
            metric([0.1, 0.2], [1, 1])
        with pytest.raises(BadInput, match="not a finite number for 1 of 2 answers"):
            metric([0.1, np.nan], [1, 0])
    with pytest.raises(BadInput, match="`bins` must be"):
        calibration_error([0.5], [1], bins=0)
    with pytest.raises(BadInput, match="`rule` must be"):
        calibration_error([0.5], [1], rule="quantile")


def test_a_bootstrap_area_is_that_of_repeated_rows():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 5, (30, 2)).astype(float), rng.integers(0, 2, 30)
    counts = draw_counts(np.arange(30), 5, rng)
    areas = weighted_areas(scores, labels, counts)
    for row, count in zip(areas, counts.astype(int), strict=True):
        repeated = np.repeat(np.arange(30), count)
        assert row == pytest.approx([oracle.roc_auc_score(labels[repeated], scores[repeated, m]) for m in (0, 1)])


def test_units_are_drawn_whole():
    counts = draw_counts(np.array([3, 3, 7, 7, 7]), 50, np.random.default_rng(0))
    assert (counts[:, 0] == counts[:, 1]).all() and (counts[:, 2] == counts[:, 4]).all()
    assert (counts[:, 0] + counts[:, 2] == 2).all()


def build_table(size=400, seed=0, groups=()):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    good = labels + rng.normal(size=size)
    values = np.stack([good, -good, good + 0.5 * rng.normal(size=size), rng.normal(size=size)], axis=1)
    columns = [SignalDescription("good"), SignalDescription("turned", -1), SignalDescription("noisy")]
    return SignalTable((*columns, SignalDescription("chance", is_gauge_invariant=False)), values, labels, groups)


def test_ranking_puts_the_better_signal_first_and_finds_no_difference_where_there_is_none():
    ranking = rank_signals(build_table(), "good", replicas=500)
    names = [one.column.name for one in ranking.signals]
    assert names[:2] == ["good", "turned"] and names[-1] == "chance"
    by_name = {one.column.name: one for one in ranking.signals}
    assert by_name["turned"].against_reference.value == 0 and by_name["turned"].against_reference.p_value == 1
    assert by_name["noisy"].against_reference.high < 0 and by_name["noisy"].against_reference.p_value < 0.05
    assert by_name["chance"].against_chance.low < 0 < by_name["chance"].against_chance.high
    assert by_name["good"].low < by_name["good"].auroc < by_name["good"].high


def count_false_alarms(estimate, trials=100, signals=10):
    """Trials in which some of `signals` without information is said to differ from chance at 5 %."""
    alarms = 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        labels = np.repeat([0, 1], 40)
        scores = rng.normal(size=(80, signals))
        area = np.array([area_under_roc(one, labels) for one in scores.T]) - 0.5
        replicas = weighted_areas(scores, labels, draw_counts(np.arange(80), 100, rng)) - 0.5
        alarms += estimate(area, replicas)
    return alarms


def test_corrected_tests_keep_their_level_and_plain_ones_do_not():
    # At a level of 5 % there are more than 13 alarms in 100 trials with a probability of 1e-3, at most.
    def corrected(area, replicas):
        return min(one.p_value for one in estimate_simultaneously(area, replicas)) <= 0.05

    def plain(area, replicas):
        low, high = np.quantile(replicas, [0.025, 0.975], axis=0)
        return bool(((low > 0) | (high < 0)).any())

    assert count_false_alarms(corrected) <= 13
    assert count_false_alarms(plain) > 20, "the negative control"


def test_holm_corrects_step_by_step():
    assert adjust_p_values([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_p_values([0.9, 0.8]) == [1.0, 1.0]


def test_a_summary_has_every_metric_with_its_interval_and_one_per_group():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=200)
    labels = (rng.uniform(size=200) < p).astype(int)
    summary = summarize_metrics(p, labels)
    assert [one.name for one in summary.metrics] == list(METRICS)
    assert all(one.low <= one.value + 0.02 and one.value - 0.05 <= one.high for one in summary.metrics)
    groups = summarize_groups(p, labels, ("a", "b") * 100)
    assert [one.group for one in groups] == ["a", "b"] and sum(one.answers for one in groups) == 200
    assert summarize_groups(p, labels, ("a",) * 200) == ()
    alone = summarize_metrics(p[:3], np.ones(3, int))
    assert np.isnan(alone["AUROC"].value) and np.isfinite(alone["Brier"].value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"values": np.zeros((2, 2))}, "must have the shape"),
        ({"values": np.array([[np.nan], [0.0]])}, "the signal s is not a finite number for 1 of 2 answers"),
        ({"labels": np.array([0, 3])}, "a label must be 0"),
        ({"groups": ("a",)}, "`groups` must have one entry per label"),
        ({"columns": (SignalDescription("s", 2),)}, "`direction` of s must be 1 or -1"),
    ],
)
def test_a_table_refuses_what_does_not_fit(changes, words):
    fields = {"columns": (SignalDescription("s"),), "values": np.zeros((2, 1)), "labels": np.array([0, 1])} | changes
    with pytest.raises(BadInput, match=words):
        SignalTable(**fields)


def test_a_table_suggests_the_name_of_a_signal():
    with pytest.raises(BadInput, match="did you mean 'noisy'"):
        build_table().scores("nosy")
