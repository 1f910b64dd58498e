"""Noise-contrastive estimation finds the tilt between two samples, with errors that hold."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from heatbath.energy import Context
from heatbath.energy.learned_energy import LogisticFit, ResidualEnergy, build_calibration_table, fit_logistic
from heatbath.errors import BadInput
from heatbath.models import TableModel
from heatbath.testing import check_potential

MODEL = TableModel.random(0, 3, 5, stop_token_ids=(2,), scale=1.5)
SEQUENCES = [list(sequence) for sequence in MODEL.sequences()]
THETA = np.array([0.8, -0.5])


def features(answers):
    """How often token 0 comes, and the length."""
    return np.array([[answer.count(0), len(answer)] for answer in answers], float).reshape(-1, 2)


def draws(seed, count, theta=None):
    """Answers of the model's law tilted by exp(-theta f)."""
    logw = MODEL.logprobs() - (0 if theta is None else features(SEQUENCES) @ theta)
    weights = np.exp(logw - logw.max())
    picked = np.random.default_rng(seed).choice(len(SEQUENCES), size=count, p=weights / weights.sum())
    return [SEQUENCES[i] for i in picked]


def log_z():
    return np.log((np.exp(MODEL.logprobs() - features(SEQUENCES) @ THETA)).sum())


TRAINED = ResidualEnergy.train(features, draws(1, 3000, THETA), draws(2, 1000))


def test_the_tilt_is_recovered_whatever_the_counts():
    """Each of six z-values passes 4 with probability 6e-5."""
    for seed, (wanted, noise) in enumerate([(3000, 1000), (1000, 3000)]):
        fit = fit_logistic(features(draws(seed, wanted, THETA)), features(draws(seed + 9, noise)))
        z = (np.append(fit.weights, fit.bias) - np.append(-THETA, -log_z())) / fit.stderr
        assert (np.abs(z) < 4).all()
        wrong_sign = (np.array(fit.weights) - THETA) / fit.stderr[:2]
        assert (np.abs(wrong_sign) > 10).all()
        no_offset = (fit.bias + np.log(wanted / noise) + log_z()) / fit.stderr[2]
        assert abs(no_offset) > 10


def test_standard_errors_hold_over_many_fits():
    """100 fits: the mean of z² over three parameters is 1 with standard error below 0.15."""
    z = []
    for seed in range(100):
        fit = fit_logistic(features(draws(seed, 400, THETA)), features(draws(10_000 + seed, 300)))
        z.append((np.append(fit.weights, fit.bias) - np.append(-THETA, -log_z())) / fit.stderr)
    assert abs((np.array(z) ** 2).mean() - 1) < 0.45


def test_answers_weighed_by_the_residual_have_the_law_of_the_preferred():
    context = Context(SEQUENCES, [0] * len(SEQUENCES), 3, finished_mask=[True] * len(SEQUENCES))
    weights = np.exp(MODEL.logprobs() - TRAINED(context))
    wanted = np.exp(MODEL.logprobs() - features(SEQUENCES) @ THETA - log_z())
    distance = 0.5 * np.abs(weights / weights.sum() - wanted).sum()
    assert distance < 0.05 < 0.5 * np.abs(np.exp(MODEL.logprobs()) - wanted).sum()
    assert abs(weights.sum() - 1) < 0.15  # the bias stands for minus log Z


def test_contract_with_the_stop_token_left_out():
    rows = [[0, 1, 1, 2], [1], [0, 0]]
    check_potential(TRAINED, Context(rows, [0, 0, 1], 3, (2,), finished_mask=[True, True, True]))
    prefixes = ResidualEnergy(features, TRAINED.regression, scores_prefixes=True)
    check_potential(prefixes, Context(rows, [0, 0, 1], 3, (2,), finished_mask=[True, False, True]))


def test_probabilities_come_true_on_answers_held_back():
    """Chi-square of the bins beyond its 1e-5 quantile; a residual with the wrong sign is far beyond."""
    held = draws(31, 3000, THETA), draws(32, 2000)
    good = TRAINED.compute_calibration(*held)
    assert good.chi2 < chi2.isf(1e-5, len(good.counts)) and good.counts.sum() == 5000
    assert np.abs(good.observed_share - good.predicted_probability).max() < 0.1
    turned = LogisticFit(
        tuple(-np.array(TRAINED.regression.weights)),
        -TRAINED.regression.bias,
        TRAINED.regression.stderr,
        0.0,
        3000,
        1000,
    )
    assert ResidualEnergy(features, turned).compute_calibration(*held).chi2 > 100


def test_l2_shrinks_and_settles_separable_sides():
    apart = np.array([[0.0], [1.0]]), np.array([[3.0], [4.0]])
    with pytest.raises(BadInput, match="are linearly separable"):
        fit_logistic(*apart)
    with pytest.raises(BadInput, match="are linearly separable"):
        fit_logistic(np.array([[0.0], [1.0]]), np.array([[1.0], [4.0]]))
    weak, strong = (fit_logistic(*apart, l2=l2).weights[0] for l2 in (0.01, 1.0))
    assert weak < strong < 0


def test_l2_is_counted_in_the_features_own_units():
    one, other = features(draws(1, 300, THETA)), features(draws(2, 300))
    fit = fit_logistic(one, other, l2=3.0)
    design = np.vstack([one, other])
    label = np.repeat([1.0, 0.0], 300)
    share = 1 / (1 + np.exp(-(design @ np.array(fit.weights) + fit.bias)))
    assert np.allclose(design.T @ (label - share), 3.0 * np.array(fit.weights), atol=1e-5)


def test_hidden_states_of_any_library_are_features():
    torch = pytest.importorskip("torch")
    states = ResidualEnergy.train(
        lambda answers: torch.tensor(features(answers)).float(), draws(1, 300, THETA), draws(2, 300)
    )
    plain = ResidualEnergy.train(features, draws(1, 300, THETA), draws(2, 300))
    assert np.allclose(states.regression.weights, plain.regression.weights, atol=1e-6)


def test_a_constant_feature_gets_no_weight():
    ones = [
        np.column_stack([features(answers), np.full(len(answers), 7.0)])
        for answers in (draws(1, 300, THETA), draws(2, 300))
    ]
    assert fit_logistic(*ones).weights[2] == 0


def test_saved_and_loaded_it_is_the_same(tmp_path):
    path = tmp_path / "residual.json"
    trained = ResidualEnergy(features, TRAINED.regression, fingerprint="sha256:abc", name="kind")
    trained.save(path)
    again = ResidualEnergy.load(path, features, fingerprint="sha256:abc")
    assert again.regression == trained.regression and again.name == "kind" and list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text())["schema"] == "heatbath.residual/1"
    with pytest.raises(BadInput, match="was fitted on features 'sha256:abc', got 'sha256:other'"):
        ResidualEnergy.load(path, features, fingerprint="sha256:other")


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "residual.json"
    path.write_text("before")

    def full(self, target):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        TRAINED.save(path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("change", [{"schema": "heatbath.residual/2"}, {"weights": None}, {"bias": "x"}])
def test_other_files_are_refused(tmp_path, change):
    path = tmp_path / "residual.json"
    TRAINED.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInput, match="schema|is not a residual energy"):
        ResidualEnergy.load(path, features)


def test_bad_input():
    with pytest.raises(BadInput, match="expected preferred and rejected completions, got 0"):
        ResidualEnergy.train(features, [], draws(1, 3))
    with pytest.raises(BadInput, match="`l2` must be finite and at least 0, got -1"):
        ResidualEnergy.train(features, draws(1, 3), draws(2, 3), l2=-1.0)
    with pytest.raises(BadInput, match=r"features of preferred completions must have shape \(3, d\), got \(3,\)"):
        ResidualEnergy.train(lambda answers: np.zeros(3), draws(1, 3), draws(2, 3))
    with pytest.raises(BadInput, match="rejected completion 0 must be finite, got NaN"):
        ResidualEnergy.train(
            lambda answers: np.full((len(answers), 1), 0.0 if len(answers) == 2 else np.nan), draws(1, 2), draws(2, 3)
        )
    with pytest.raises(BadInput, match="'residual' was fitted on 2 features, got 1"):
        ResidualEnergy(lambda answers: np.zeros((len(answers), 1)), TRAINED.regression)(Context([[0]], [0], 3))
    with pytest.raises(BadInput, match="from 1 to the number of completions, 2, got 20"):
        build_calibration_table(np.array([0.5, 0.5]), np.array([0.0, 1.0]), 20)
