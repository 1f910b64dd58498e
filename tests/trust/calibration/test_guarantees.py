"""Guarantees hold at their nominal rate in simulated splits, small ones too, and broken ones do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from heatbath.errors import BadInput
from heatbath.trust.calibration.answer_selection import (
    ErrorTarget,
    error_p_value,
    select_answers,
    upper_error_bound,
)
from heatbath.trust.calibration.conformal_sets import (
    count_needed_questions,
    find_conformal_bound,
    measure_coverage,
    score_accepted,
    score_answers,
)
from heatbath.trust.calibration.model_routing import (
    ModelAnswers,
    Route,
    choose_routes,
    meets_expectation,
    select_route,
)

RULES = ("fixed sequence", "learn then test")
THRESHOLDS = np.linspace(0.85, 0.0, 18)
FULL = pytest.param(2000, marks=pytest.mark.slow)


def most_failures(trials, rate):
    """The number of failures in `trials` that a true rate of `rate` exceeds with a probability of 1e-4."""
    return int(binom.isf(1e-4, trials, rate))


def draw_questions(rng, size, skill=1.0):
    """Confidences and labels; the error rate at confidence c is (1 - c)/skill, at most 1."""
    confidence = rng.uniform(size=size)
    return confidence, (rng.uniform(size=size) >= np.minimum(1, (1 - confidence) / skill)).astype(int)


def true_error(threshold, skill=1.0):
    """The error rate among answers of at least this confidence."""
    c = np.linspace(threshold, 1, 2001)
    return float(np.mean(np.minimum(1, (1 - c) / skill)))


def count_broken(trials, size, target, select=select_answers, skill=1.0):
    """The number of splits whose chosen threshold has an error rate above the target, and of those that answer."""
    broken = answered = 0
    for seed in range(trials):
        confidence, labels = draw_questions(np.random.default_rng([seed, size]), size, skill)
        found = select(confidence, labels, thresholds=THRESHOLDS, target=target)
        answered += found.threshold is not None
        broken += found.threshold is not None and true_error(found.threshold, skill) > target.max_error
    return broken, answered


@pytest.mark.parametrize("trials", [300, FULL])
@pytest.mark.parametrize("size", [30, 120, 500])
@pytest.mark.parametrize("rule", RULES)
def test_the_error_rate_stays_below_the_bound_as_often_as_it_says(rule, size, trials):
    target = ErrorTarget(0.1, 0.9, rule)
    for skill in (1.0, 4.0):
        broken, answered = count_broken(trials, size, target, skill=skill)
        assert broken <= most_failures(trials, 0.1)
    if size == 500:
        assert answered > 0.6 * trials, "a rule that never answers would pass too"


@pytest.mark.parametrize("trials", [300, FULL])
def test_a_rule_without_a_bound_breaks_its_promise(trials):
    """The negative control: the loosest threshold whose observed error rate is small enough."""

    class Found:
        def __init__(self, threshold):
            self.threshold = threshold

    def naive(confidence, labels, *, thresholds, target):
        good = [
            t for t in thresholds if (confidence >= t).any() and 1 - labels[confidence >= t].mean() <= target.max_error
        ]
        return Found(min(good, default=None))

    broken, _ = count_broken(trials, 120, ErrorTarget(0.1, 0.9), naive)
    assert broken > most_failures(trials, 0.1)


@pytest.mark.parametrize("trials", [300, FULL])
def test_the_start_of_the_sequence_must_not_look_at_labels(trials):
    """The negative control of the fixed sequence: one that starts where the first test passes."""

    def peeking(confidence, labels, *, thresholds, target):
        passed = [
            t
            for t in thresholds
            if upper_error_bound(
                int(((confidence >= t) & (labels == 0)).sum()), int((confidence >= t).sum()), target.confidence
            )
            <= target.max_error
        ]

        class Found:
            threshold = min(passed, default=None)

        return Found()

    # With a flat error rate just above the bound every threshold that passes breaks the promise.
    def flat(select):
        broken = 0
        for seed in range(trials):
            rng = np.random.default_rng(seed)
            confidence, labels = rng.uniform(size=300), (rng.uniform(size=300) > 0.105).astype(int)
            broken += (
                select(confidence, labels, thresholds=THRESHOLDS, target=ErrorTarget(0.1, 0.9)).threshold is not None
            )
        return broken

    assert flat(select_answers) <= most_failures(trials, 0.1)
    assert flat(peeking) > most_failures(trials, 0.1)


@given(st.integers(1, 300), st.floats(0.01, 0.5), st.floats(0.5, 0.99), st.data())
def test_the_p_value_passes_exactly_where_the_clopper_pearson_bound_does(answered, max_error, confidence, data):
    wrong = data.draw(st.integers(0, answered))
    bound = upper_error_bound(wrong, answered, confidence)
    p = float(error_p_value(wrong, answered, max_error))
    if abs(bound - max_error) > 1e-9:
        assert (p <= 1 - confidence) == (bound <= max_error)
    assert bound == pytest.approx(
        binomtest(wrong, answered, alternative="less").proportion_ci(confidence, method="exact").high, abs=1e-9
    )


@given(st.floats(0.01, 0.5), st.floats(0.5, 0.999))
def test_the_needed_number_of_answers_is_the_smallest(max_error, confidence):
    needed = ErrorTarget(max_error, confidence).needed_answers
    assert upper_error_bound(0, needed, confidence) <= max_error + 1e-9
    assert needed == 1 or upper_error_bound(0, needed - 1, confidence) > max_error - 1e-9


def test_fewer_questions_than_the_guarantee_needs_say_how_many_are():
    with pytest.raises(BadInput, match=r"needs at least 59 questions for the test, even if none is wrong, got 58"):
        select_answers(np.ones(58), np.ones(58), thresholds=[0.5], target=ErrorTarget(0.05, 0.95))
    assert select_answers(np.ones(59), np.ones(59), thresholds=[0.5], target=ErrorTarget(0.05, 0.95)).threshold == 0.5


def test_no_threshold_means_no_answer():
    rng = np.random.default_rng(0)
    found = select_answers(rng.uniform(size=100), np.zeros(100), thresholds=THRESHOLDS)
    assert found.threshold is None and found.coverage == 0 and math.isnan(found.error_bound)
    assert "none is answered" in str(found)
    loose = select_answers(rng.uniform(size=100), np.ones(100), thresholds=THRESHOLDS)
    assert loose.threshold == 0 and loose.coverage == 1 and loose.error_bound <= 0.1
    assert "independent" in loose.assumption


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"max_error": 0.0}, "`max_error` must be in"),
        ({"max_error": 1.0}, "`max_error` must be in"),
        ({"confidence": math.nan}, "`confidence` must be in"),
        ({"rule": "bonferroni"}, "`rule` must be"),
    ],
)
def test_an_impossible_target_is_refused(fields, words):
    with pytest.raises(BadInput, match=words):
        ErrorTarget(**fields)


@pytest.mark.parametrize("trials", [400, FULL])
@pytest.mark.parametrize(("size", "alpha"), [(9, 0.1), (19, 0.1), (40, 0.2), (200, 0.05)])
def test_conformal_sets_hold_an_accepted_answer_as_often_as_they_say(size, alpha, trials):
    rng = np.random.default_rng([size, 1])
    covered, slack = 0, 0
    for _ in range(trials):
        scores = rng.normal(size=size + 1).round(2)
        bound = find_conformal_bound(scores[:-1], alpha)
        covered += scores[-1] <= bound.bound
        rank = math.floor((size + 1) * (1 - alpha) - 1e-9)  # one rank lower: the negative control
        slack += scores[-1] <= np.sort(scores[:-1])[max(rank - 1, 0)]
    assert trials - covered <= most_failures(trials, alpha)
    if size == 9:
        assert trials - slack > most_failures(trials, alpha)


def test_no_finite_bound_below_the_sample_size_that_allows_one():
    assert [count_needed_questions(alpha) for alpha in (0.1, 0.05, 0.2, 0.5, 0.3)] == [9, 19, 4, 1, 3]
    for alpha in (0.1, 0.05, 0.2, 0.3, 0.7, 0.01):
        needed = count_needed_questions(alpha)
        assert math.isfinite(find_conformal_bound(np.arange(needed), alpha).bound)
        if needed > 1:
            short = find_conformal_bound(np.arange(needed - 1), alpha)
            assert math.isinf(short.bound) and short.select({"a": 0.0}) is None
    # 10 * (1 - 0.1) is 9 exactly, whatever binary fractions say.
    assert find_conformal_bound(np.arange(9), 0.1).bound == 8
    assert find_conformal_bound(np.arange(99), 0.07).bound == 92


@pytest.mark.parametrize(("size", "alpha", "rank"), [(19, 0.1, 18), (19, 0.05, 19), (18, 0.05, None), (8, 0.1, None)])
def test_a_bound_is_the_score_of_its_rank(size, alpha, rank):
    scores = np.random.default_rng(0).permutation(np.arange(1, size + 1))
    assert find_conformal_bound(scores, alpha).bound == (math.inf if rank is None else rank)


@pytest.mark.parametrize("alpha", [0, 1.0, -1.0, math.nan, True, "0.1", None])
def test_an_error_rate_lies_inside_its_interval(alpha):
    with pytest.raises(BadInput, match=r"`alpha` must be in \(0, 1\), got"):
        find_conformal_bound([0.1], alpha)


def test_sets_of_answers_by_frequency():
    scores = score_answers({"Paris": 0.6, "Lyon": 0.3, "Nice": 0.1})
    assert scores == pytest.approx({"Paris": 0.0, "Lyon": 0.6, "Nice": 0.9})
    assert score_accepted(scores, ["Nice", "Lyon"]) == pytest.approx(0.6)
    assert math.isinf(score_accepted(scores, ["Rome"]))
    bound = find_conformal_bound([0.0] * 15 + [0.6] * 4 + [math.inf], 0.2)
    assert bound.bound == 0.6 and bound.select(scores) == ["Paris", "Lyon"]
    assert measure_coverage(np.array([0.0, 0.6, 0.9]), bound) == pytest.approx(2 / 3)
    with pytest.raises(BadInput, match="no NaN"):
        find_conformal_bound([math.nan], 0.1)


def draw_pair(rng, size):
    """Two models on the same questions, the second one better."""
    return (ModelAnswers(*draw_questions(rng, size, skill)) for skill in (1.0, 2.5))


def true_route_error(route):
    """The error rate among accepted answers of a route, by a large sample."""
    first, second = draw_pair(np.random.default_rng(999), 200_000)
    model = route.choose_models(first.confidence, second.confidence)
    wrong = np.where(model == 1, first.labels == 0, second.labels == 0)
    return wrong[model > 0].mean()


@pytest.mark.parametrize("trials", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_two_models_stay_below_one_bound_and_answer_more_than_one(trials):
    rng = np.random.default_rng(4)
    target = ErrorTarget(0.1, 0.9)
    first, second = draw_pair(rng, 400)
    routes = choose_routes(first, second, target)
    errors = {route: true_route_error(route) for route in routes}
    broken, coverage, alone = 0, [], []
    for _ in range(trials):
        first, second = draw_pair(rng, 300)
        found = select_route(first, second, routes, target)
        if found.route is not None:
            broken += errors[found.route] > 0.1
        coverage.append(found.coverage)
        alone.append(select_answers(first.confidence, first.labels, thresholds=THRESHOLDS, target=target).coverage)
    assert broken <= most_failures(trials, 0.1)
    assert np.mean(coverage) > np.mean(alone) + 0.1


def test_a_route_asks_the_second_model_where_the_first_is_not_sure():
    route = Route(0.8, 0.5)
    assert route.choose_models(np.array([0.9, 0.7, 0.7]), np.array([0.1, 0.6, 0.4])).tolist() == [1, 2, 0]
    answers = ModelAnswers(np.linspace(0, 1, 40), np.ones(40))
    found = select_route(answers, answers, [Route(math.inf, math.inf), Route(math.inf, 0.0)])
    assert found.route == Route(math.inf, 0.0) and found.second_share == 1.0 and found.wrong == 0


def test_routes_refuse_what_does_not_fit():
    answers = ModelAnswers(np.linspace(0, 1, 40), np.ones(40))
    with pytest.raises(BadInput, match="must answer the same questions, got 40 and 30"):
        select_route(answers, ModelAnswers(np.ones(30), np.ones(30)), [Route(0.5, 0.5)])
    with pytest.raises(BadInput, match="`routes` is empty"):
        select_route(answers, answers, [])
    with pytest.raises(BadInput, match="needs at least 22 questions"):
        select_route(*(ModelAnswers(np.ones(21), np.ones(21)) for _ in "ab"), [Route(0.5, 0.5)])


def test_the_condition_on_the_expectation_counts_the_next_question_as_wrong():
    assert meets_expectation(np.array([0, 0, 1, 2]), np.array([8, 9, 19, 28]), 0.1).tolist() == [
        False,
        True,
        True,
        False,
    ]
