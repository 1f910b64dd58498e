"""Fits against scikit-learn and their own laws; the choice by cross-validation, and splits."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression

from heatbath.errors import BadInput
from heatbath.trust.calibration.cross_validation import FitChoice, choose_fit, predict_nested
from heatbath.trust.calibration.fits import FITS, dump_fit, parse_fit, takes_scores
from heatbath.trust.calibration.parametric_fits import TemperatureFit
from heatbath.trust.calibration.reliability import calibration_error, negative_log_likelihood
from heatbath.trust.calibration.signal_table import SignalDescription, SignalTable
from heatbath.trust.calibration.splits import assign_folds, find_duplicates, keep_one_of_each, split_units

SINGLE = [name for name, method in FITS.items() if not method.takes_several]


def draw_scores(size=500, seed=0, log=False, temperature=2.0):
    """Probabilities that are too sure of themselves by a temperature, and labels."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=size)
    labels = (rng.uniform(size=size) < expit(truth)).astype(int)
    scores = expit(temperature * truth)
    return (np.log(scores) if log else scores)[:, None], labels


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("name", SINGLE)
def test_every_fit_calibrates_and_survives_its_file(name, log):
    scores, labels = draw_scores(log=log)
    fit = FITS[name].build(scores, labels)
    fresh, truth = draw_scores(2000, seed=1, log=log)
    predicted = fit.predict(fresh)
    raw = np.exp(fresh[:, 0]) if log else fresh[:, 0]
    assert ((predicted >= 0) & (predicted <= 1)).all()
    assert calibration_error(predicted, truth, rule="equal mass") < 0.07
    assert calibration_error(raw, truth, rule="equal mass") > 0.08, "the negative control"
    again = parse_fit(json.loads(json.dumps(dump_fit(fit))))
    assert again == fit and (again.predict(fresh) == predicted).all()


def test_the_temperature_is_that_of_the_smallest_nll():
    scores, labels = draw_scores(4000)
    fit = FITS["temperature"].build(scores, labels)
    assert fit.temperature == pytest.approx(2.0, rel=0.12)
    best = negative_log_likelihood(fit.predict(scores), labels)
    for factor in (0.9, 1.1):
        assert (
            negative_log_likelihood(TemperatureFit(fit.temperature * factor, fit.domain).predict(scores), labels) > best
        )


class LogOdds(ClassifierMixin, BaseEstimator):
    """A classifier whose only feature is its log-odds."""

    def __init__(self) -> None:
        self.classes_ = np.array([0, 1])

    def fit(self, features: Any, labels: Any) -> LogOdds:
        return self

    def predict(self, features: Any) -> Any:
        return (features[:, 0] > 0).astype(int)

    def predict_proba(self, features: Any) -> Any:
        return expit(np.hstack([-features, features]))


class Margin(LogOdds):
    """The same with a decision function, which sigmoid calibration takes as it is."""

    def decision_function(self, features: Any) -> Any:
        return features[:, 0]


@pytest.mark.parametrize(
    ("name", "method", "model"), [("platt", "sigmoid", Margin), ("temperature", "temperature", LogOdds)]
)
def test_platt_and_temperature_equal_those_of_scikit_learn(name, method, model):
    scores, labels = draw_scores()
    log_odds = logit(scores)
    with warnings.catch_warnings():
        # It hands the filters of warnings on to its workers, and reads those of the tests as if they were patterns.
        warnings.resetwarnings()
        theirs = CalibratedClassifierCV(FrozenEstimator(model()), method=method).fit(log_odds, labels)
    found = FITS[name].build(log_odds if name == "platt" else scores, labels)
    assert found.predict(log_odds if name == "platt" else scores) == pytest.approx(
        theirs.predict_proba(log_odds)[:, 1], abs=2e-4
    )


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=2, max_size=40))
def test_isotonic_equals_that_of_scikit_learn_with_ties(pairs):
    scores, labels = (np.array(column) for column in zip(*pairs, strict=True))
    if len(set(labels.tolist())) == 1:
        return
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    places = np.linspace(-4, 4, 33)
    found = FITS["isotonic"].build(scores[:, None].astype(float), labels).predict(places[:, None])
    assert found == pytest.approx(theirs.predict(places), abs=1e-9)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=2, max_size=20), st.floats(-4, 4))
def test_venn_abers_is_two_isotonic_regressions_with_one_more_answer(pairs, place):
    scores, labels = (np.array(column, float) for column in zip(*pairs, strict=True))
    if len(set(labels.tolist())) == 1:
        return
    # scikit-learn merges scores that differ by rounding alone.
    for at in (round(place, 3), round(place)):
        low, high = FITS["venn_abers"].build(scores[:, None], labels.astype(int)).predict_interval(np.array([[at]]))
        found = [float(low[0]), float(high[0])]
        expected = [
            IsotonicRegression().fit(np.append(scores, at), np.append(labels, label)).predict([at])[0]
            for label in (0.0, 1.0)
        ]
        assert found == pytest.approx(expected, abs=1e-9)
        assert found[0] <= found[1]


def test_beta_has_no_negative_slopes_and_is_the_identity_on_calibrated_probabilities():
    scores, labels = draw_scores(20_000, temperature=1.0)
    fit = FITS["beta"].build(scores, labels)
    assert (fit.a, fit.b, fit.c) == pytest.approx((1.0, 1.0, 0.0), abs=0.15)
    turned = FITS["beta"].build(1 - scores, labels)
    assert turned.a == turned.b == 0.0
    assert turned.predict(scores) == pytest.approx(np.full(len(scores), labels.mean()))


def test_log_probabilities_keep_their_digits_at_both_ends():
    scores, labels = draw_scores(log=True)
    scores[:2, 0] = [-1e-14, -900.0]
    for name in ("temperature", "beta"):
        fit = FITS[name].build(scores, labels)
        assert np.isfinite(fit.predict(scores)).all()
        assert fit.predict(np.array([[0.0]])) == pytest.approx([1.0], abs=0.05)
        with pytest.raises(BadInput, match="a log-probability must be in"):
            fit.predict(np.array([[0.1]]))


@pytest.mark.parametrize("name", SINGLE)
def test_a_signal_that_parts_right_from_wrong_and_one_that_is_constant(name):
    labels = np.repeat([0, 1], 30)
    for scores in (np.linspace(0.01, 0.99, 60)[:, None], np.full((60, 1), 0.4)):
        predicted = FITS[name].build(scores, labels).predict(scores)
        assert np.isfinite(predicted).all() and (np.diff(predicted) >= -1e-12).all()
    assert predicted == pytest.approx(np.full(60, 0.5), abs=0.02)


def test_fits_that_need_probabilities_say_so():
    scores, labels = draw_scores()
    for name in ("temperature", "beta"):
        assert not takes_scores(name, scores * 20)
        with pytest.raises(BadInput, match=f"the fit {name} needs probabilities inside"):
            FITS[name].build(scores * 20, labels)
    for name in FITS:
        with pytest.raises(BadInput, match="a fit needs right and wrong answers"):
            FITS[name].build(scores, np.ones_like(labels))


def build_table(size=300, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=size)
    labels = (rng.uniform(size=size) < expit(2 * truth)).astype(int)
    columns = tuple(map(SignalDescription, ("good:mean", "good:max", "other", "noise")))
    noise = rng.normal(size=(4, size))
    values = np.stack([truth + 2 * noise[0], truth, truth + noise[1], noise[2]], axis=1)
    return SignalTable(columns, values, labels)


def test_the_choice_finds_the_aggregation_and_predicts_new_answers():
    chosen = choose_fit(build_table())
    assert "good:max" in chosen.signals and "good:mean" not in chosen.signals
    fresh = build_table(2000, seed=5)
    assert calibration_error(chosen.predict(fresh), fresh.labels, rule="equal mass") < 0.08
    briers = [one.brier for one in chosen.candidates]
    assert briers == sorted(briers)


def test_nested_predictions_do_not_flatter_noise():
    """Of 40 signals of noise the best looks good on the answers that chose it, and not in nested cross-validation."""
    from heatbath.trust.calibration.ranking_metrics import area_under_roc

    rng = np.random.default_rng(3)
    labels = np.tile([0, 1], 100)
    table = SignalTable(tuple(SignalDescription(f"noise{i}") for i in range(40)), rng.normal(size=(200, 40)), labels)
    choice = FitChoice(fits=("platt",))
    nested = predict_nested(table, choice)
    flattered = choose_fit(table, choice).predict(table)
    assert area_under_roc(flattered, labels) > area_under_roc(nested.probabilities, labels) + 0.05, "the control"
    # The AUROC of 200 answers without a signal exceeds 0.6 with a probability below 1 %.
    assert area_under_roc(nested.probabilities, labels) < 0.6
    assert len(nested.choices) == 5


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"fits": ("plat",)}, "did you mean 'platt'"),
        ({"fits": ()}, "at least one fit"),
        ({"folds": 1}, "two folds"),
    ],
)
def test_an_impossible_choice_is_refused(choice, words):
    with pytest.raises(BadInput, match=words):
        FitChoice(**choice)


def test_too_few_answers_of_a_kind_are_refused():
    table = build_table(20).take(np.arange(20))
    rows = np.flatnonzero(table.labels == 1)[:2].tolist() + np.flatnonzero(table.labels == 0).tolist()
    with pytest.raises(BadInput, match="at least 5 right and 5 wrong answers, got 2 of one kind"):
        choose_fit(table.take(rows))
    with pytest.raises(BadInput, match="none of the fits temperature takes the signals"):
        choose_fit(build_table(), FitChoice(fits=("temperature",)))


DUPLICATES = [
    ("What is the capital of France?", "what is the capital of  FRANCE ?", True),
    ("Name the largest planet of the solar system.", "Name the largest planet in the solar system.", True),
    ("What is the capital of France?", "What is the capital of Germany?", False),
    ("What is 12 + 7?", "What is 12 + 8?", False),
    ("What is 12 + 7?", "What is 7 + 12?", True),
    ("What is 1.5 + 7?", "What is 15 + 7?", False),
]


@pytest.mark.parametrize(("a", "b", "same"), DUPLICATES)
def test_near_duplicates_are_found_among_questions_of_a_template(a, b, same):
    countries = ["Peru", "Chile", "Kenya", "Japan", "Spain", "Italy", "Ghana", "Nepal", "Cuba", "Malta"]
    others = [f"What is the capital of {one}?" for one in countries]
    others += [f"Name the longest river of {one}." for one in countries]
    units = find_duplicates([*others, a, b])
    assert (units[-1] == units[-2]) == same
    assert len(set(units[:-2].tolist())) == len(others)


def test_a_duplicate_of_a_duplicate_belongs_to_both_and_empty_texts_are_the_same():
    units = find_duplicates(["", "a b c", "", "c b a", "A, b c"])
    assert units[0] == units[2] and units[1] == units[3]


@given(st.lists(st.integers(0, 12), min_size=30, max_size=80), st.integers(0, 5))
def test_no_unit_is_in_two_parts_or_folds(units, seed):
    array = np.array(units)
    if len(set(units)) < 5:
        return
    parts = split_units(array, (0.4, 0.3, 0.3), seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(units)))
    assert all(len(part) for part in parts)
    owners = [set(array[part].tolist()) for part in parts]
    assert not (owners[0] & owners[1] or owners[0] & owners[2] or owners[1] & owners[2])
    folds = assign_folds(array, np.arange(len(units)) % 2, 3, seed)
    assert all(len(set(folds[array == unit].tolist())) == 1 for unit in set(units))
    kept = keep_one_of_each(array, seed)
    assert sorted(array[kept].tolist()) == sorted(set(units))


def test_too_few_questions_for_the_parts_are_refused():
    with pytest.raises(BadInput, match="2 different questions are too few for 3 parts"):
        split_units(np.array([0, 0, 1]), (0.4, 0.3, 0.3), 0)
    with pytest.raises(BadInput, match="5 folds need at least 5 different questions, got 2"):
        assign_folds(np.array([0, 0, 1]), np.array([0, 1, 1]), 5, 0)
