"""Metrics, fits and guarantees against MAPIE; a difference is a function here that turns one into the other."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.calibration import VennAbersCalibrator
from mapie.classification import SplitConformalClassifier
from mapie.exchangeability_testing import OnlineMartingaleTest
from mapie.metrics.calibration import expected_calibration_error
from mapie.metrics.uncertainty import auarc, auroc
from mapie.risk_control import BinaryClassificationController, control_fwer
from scipy.special import bdtr
from sklearn.base import BaseEstimator, ClassifierMixin

from heatbath.trust.calibration.answer_selection import (
    FIXED_SEQUENCE,
    LEARN_THEN_TEST,
    ErrorTarget,
    error_p_value,
    find_passed,
    select_answers,
)
from heatbath.trust.calibration.conformal_sets import find_conformal_bound
from heatbath.trust.calibration.fits import FITS
from heatbath.trust.calibration.ranking_metrics import area_under_risk_coverage, area_under_roc
from heatbath.trust.calibration.reliability import EQUAL_MASS, calibration_error
from heatbath.trust.monitoring.martingales import LINEAR_BETS, rank_factors
from heatbath.trust.monitoring.rank_test import GRID, RankTest

GRID_SCORES = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
SCORES = st.sampled_from(GRID_SCORES)
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def draw_answers(draw: st.DrawFn) -> tuple[Any, Any]:
    """Confidences, of which some are 0, 1 or ties, and labels of both kinds."""
    rng, size = np.random.default_rng(draw(SEEDS)), draw(st.integers(2, 40))
    ties = draw(st.sampled_from([0.0, 0.5, 1.0]))
    p = np.where(rng.uniform(size=size) < ties, rng.choice(GRID_SCORES, size), rng.integers(0, 1001, size) / 1000)
    labels = rng.integers(0, 2, size)
    labels[:2] = [0, 1]
    return p, labels


ANSWERS = draw_answers()


class GivenProbabilities(ClassifierMixin, BaseEstimator):
    """A classifier whose features are the probabilities of its classes, or that of the second of two."""

    def __init__(self, num_classes: int = 2) -> None:
        self.num_classes = num_classes
        self.classes_ = np.arange(num_classes)
        self.n_features_in_ = 1 if num_classes == 2 else num_classes

    def fit(self, features: Any, labels: Any) -> GivenProbabilities:
        return self

    def predict_proba(self, features: Any) -> Any:
        features = np.asarray(features, float)
        return features if self.num_classes > 2 else np.hstack([1 - features, features])

    def predict(self, features: Any) -> Any:
        return self.predict_proba(features).argmax(1)


def close_bins_on_the_right(p: Any, y: Any) -> tuple[Any, Any]:
    """MAPIE's bins are (a, b], ours [a, b): of 1 - p and 1 - y, these are the same bins with the same distances."""
    return 1 - p, 1 - y


@given(ANSWERS, st.integers(0, 4))
def test_ece_of_equal_width_is_that_of_one_bin_more_with_bins_closed_on_the_right(answers, power) -> None:
    """The ends k/B of B = 2^m bins are exact; 0 is in a bin of its own there, and left out here."""
    p, y = answers
    bins, p = 2**power, np.round(p * 16) / 16
    p[p == 0] = 1 / 64
    theirs = expected_calibration_error(y, p, num_bins=bins + 1)
    assert calibration_error(*close_bins_on_the_right(p, y), bins=bins) == pytest.approx(theirs, abs=1e-12)


def test_ece_of_mapie_has_one_bin_less_than_was_asked_for() -> None:
    p, y = np.array([0.1, 0.2, 0.8, 0.9]), np.array([1, 0, 1, 0])
    assert calibration_error(p, y, bins=2) == pytest.approx(0.35)
    assert expected_calibration_error(y, p, num_bins=3) == pytest.approx(0.35)
    assert expected_calibration_error(y, p, num_bins=2) == pytest.approx(calibration_error(p, y, bins=1)) == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert math.isnan(expected_calibration_error(y, p, num_bins=1))


@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_ece_of_equal_mass_is_that_of_split_arrays_for_sorted_distinct_scores(bins, each, data) -> None:
    size = bins * each
    p = np.array(data.draw(st.lists(st.integers(1, 999), min_size=size, max_size=size, unique=True).map(sorted))) / 1000
    y = np.array(data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)))
    if len(set(y.tolist())) < 2:
        return
    theirs = expected_calibration_error(y, p, num_bins=bins, split_strategy="array split")
    assert calibration_error(p, y, bins=bins, rule=EQUAL_MASS) == pytest.approx(theirs, abs=1e-12)


def test_split_arrays_of_mapie_depend_on_the_order_of_the_rows_and_ours_do_not() -> None:
    p, y, turn = np.array([0.05, 0.15, 0.25, 0.35, 0.95]), np.array([0, 1, 0, 1, 1]), [4, 0, 3, 1, 2]
    theirs = [
        expected_calibration_error(y[at], p[at], num_bins=5, split_strategy="array split") for at in ([*range(5)], turn)
    ]
    assert theirs == pytest.approx([0.37, 0.27])
    assert calibration_error(p[turn], y[turn], bins=5, rule=EQUAL_MASS) == pytest.approx(0.37)


@given(ANSWERS)
def test_auroc_and_aurc_of_distinct_scores(answers) -> None:
    p, y = answers
    assert area_under_roc(p, y) == pytest.approx(auroc(y, p), abs=1e-12)
    distinct = np.argsort(np.argsort(p, kind="stable")).astype(float)
    assert area_under_risk_coverage(distinct, y) == pytest.approx(1 - auarc(y, distinct), abs=1e-12)


@given(ANSWERS)
def test_aurc_of_ties_lies_between_those_of_the_best_and_the_worst_order(answers) -> None:
    """MAPIE keeps the order of the rows among ties, so that its value depends on it."""
    p, y = answers
    best, worst = (np.argsort(sign * y, kind="stable") for sign in (-1, 1))
    low, high = (1 - auarc(y[at], p[at]) for at in (best, worst))
    assert low - 1e-12 <= area_under_risk_coverage(p, y) <= high + 1e-12


@given(ANSWERS, st.lists(SCORES, min_size=1, max_size=8))
def test_venn_abers_below_the_largest_calibration_score(answers, places) -> None:
    scores, labels = answers
    at = np.array([*places, *scores])
    calibrator = VennAbersCalibrator(GivenProbabilities(), cv="prefit").fit(scores[:, None], labels)
    _, theirs = calibrator.predict_proba(at[:, None], p0_p1_output=True)
    lower, upper = FITS["venn_abers"].build(scores[:, None], labels).predict_interval(at[:, None])
    above = at > scores.max()
    assert lower == pytest.approx(theirs[:, 0], abs=1e-9)
    assert upper[~above] == pytest.approx(theirs[~above, 1], abs=1e-9)
    # A right answer above all others is alone at the end of the isotonic curve, whose value there is 1.
    assert (upper[above] == 1.0).all()


def test_mapie_keeps_the_upper_probability_of_the_largest_score_above_it() -> None:
    scores, labels = np.array([0.3, 0.7]), np.array([1, 0])
    calibrator = VennAbersCalibrator(GivenProbabilities(), cv="prefit").fit(scores[:, None], labels)
    theirs = calibrator.predict_proba(np.array([[0.7], [0.9]]), p0_p1_output=True)[1]
    assert theirs == pytest.approx(np.array([[1 / 3, 2 / 3], [1 / 3, 2 / 3]]))
    ours = FITS["venn_abers"].build(scores[:, None], labels).predict_interval(np.array([[0.7], [0.9]]))
    assert np.transpose(ours) == pytest.approx(np.array([[1 / 3, 2 / 3], [1 / 3, 1.0]]))


@given(SEEDS, st.integers(10, 60), st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.5]))
def test_conformal_sets_by_the_probability_of_the_class(seed, size, alpha) -> None:
    """Scores are multiples of 1/64, so that ties and sums are exact; without a finite bound MAPIE refuses."""
    rng = np.random.default_rng(seed)
    probabilities = rng.multinomial(64, [0.5, 0.3, 0.2], size + 10) / 64
    labels = rng.integers(0, 3, size)
    bound = find_conformal_bound(1 - probabilities[np.arange(size), labels], alpha)
    theirs = SplitConformalClassifier(
        GivenProbabilities(3), confidence_level=1 - alpha, prefit=True, conformity_score="lac"
    )
    theirs.conformalize(probabilities[:size], labels)
    if math.isinf(bound.bound):
        with pytest.raises(ValueError):
            theirs.predict_set(probabilities[size:])
        return
    _, sets = theirs.predict_set(probabilities[size:])
    ours = [bound.select({str(k): 1 - p for k, p in enumerate(row)}) for row in probabilities[size:]]
    assert [sorted(map(int, one or [])) for one in ours] == [np.flatnonzero(row).tolist() for row in sets[:, :, 0]]


def round_up_as_mapie(wrong: Any, answered: Any) -> Any:
    """Return the number of wrong answers that MAPIE has after dividing by all, multiplying again and rounding up."""
    return np.ceil(answered * (1 - (answered - wrong) / answered))


@given(SEEDS, st.sampled_from([0.1, 0.2, 0.3]), st.sampled_from([0.8, 0.9, 0.95]))
def test_p_values_of_the_error_rate_and_the_thresholds_that_pass(seed, max_error, confidence) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 21, 80) / 20
    labels = (rng.uniform(size=80) < 0.6 + 0.4 * scores).astype(int)
    thresholds = np.unique(scores)
    controller = BinaryClassificationController(
        GivenProbabilities().predict_proba, "precision", 1 - max_error, confidence, list_predict_params=thresholds
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        controller.calibrate(scores[:, None], labels)
    kept = scores >= thresholds[:, None]
    answered, wrong = kept.sum(1), (kept & (labels == 0)).sum(1)
    rounded = round_up_as_mapie(wrong, answered)
    exact = error_p_value(wrong, answered, max_error)
    assert controller.p_values is not None
    theirs = controller.p_values[:, 0]
    same = rounded == wrong
    assert exact[same] == pytest.approx(theirs[same], rel=1e-6, abs=1e-12)
    assert (theirs[~same] <= bdtr(rounded, answered, max_error)[~same] + 1e-9).all()
    assert (theirs >= exact - 1e-9).all(), "rounding up is on the safe side"
    if same.all():
        target = ErrorTarget(max_error, confidence, LEARN_THEN_TEST)
        found = select_answers(scores, labels, thresholds=thresholds, target=target).threshold
        passed = controller.valid_predict_params
        assert found == (min(passed.tolist()) if len(passed) else None)


@given(st.lists(st.tuples(st.integers(5, 60), st.floats(0, 1)), min_size=1, max_size=12))
def test_tests_that_pass_in_a_fixed_sequence_and_by_holms_rule(counts) -> None:
    answered = np.array([size for size, _ in counts])
    wrong = np.array([int(share**3 * size) for size, share in counts])
    for rule, method in ((FIXED_SEQUENCE, "fixed_sequence"), (LEARN_THEN_TEST, "bonferroni_holm")):
        # All are large enough to begin with: where ours begins is tested with the guarantees.
        target = ErrorTarget(0.45, 0.9, rule)
        expected = control_fwer(error_p_value(wrong, answered, 0.45), 1 - target.confidence, method)
        assert find_passed(wrong, answered, target) == expected.tolist()


@given(SEEDS, st.lists(st.integers(0, GRID - 1), min_size=1, max_size=30))
def test_ranks_among_earlier_confidences_are_their_p_values(seed, cells) -> None:
    """A cell of our grid is one conformity score there, with the opposite sign; the random numbers are the same."""
    sample = np.array([3, 500, 500, 1000])
    ours = RankTest(((sample + 0.5) / GRID).tolist(), seed=seed)
    theirs = OnlineMartingaleTest(random_state=seed)
    history = (-sample).tolist()
    for cell in cells:
        expected = theirs.compute_p_value(-cell, np.array(history, float))
        assert ours.take_rank((cell + 0.5) / GRID) == pytest.approx(expected, abs=1e-12)
        history.append(-cell)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_jumper_that_hardly_jumps_holds_our_bets_of_one_half(ranks) -> None:
    """Its experts bet 1 + e (p - 1/2) with e of -1, 0 and 1; ours are 1 + e (2u - 1), and start at any time."""
    theirs = OnlineMartingaleTest(jump_size=1e-15)
    for rank in ranks:
        theirs.update_simple_jumper_martingale(rank)
    bets = [LINEAR_BETS.index(stake) for stake in (-0.5, 0.5)]
    ours = (1.0 + rank_factors(ranks)[:, bets].prod(0).sum()) / 3
    assert theirs.current_martingale_value == pytest.approx(ours, rel=1e-9)
