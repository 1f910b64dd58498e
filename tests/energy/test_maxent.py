"""Maximum entropy fitted to moments: exact on enumerated laws, with honest errors on samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from stepping import steered_logprobs

from heatbath.energy import Context
from heatbath.energy.maxent import MaxEntropy, MaxEntropyPotential, _evaluate_dual, fit_moments
from heatbath.errors import BadInput, Unreliable
from heatbath.models import TableModel
from heatbath.testing import check_field

MODEL = TableModel.random(0, 3, 6, stop_token_ids=(2,), scale=1.5)
SEQUENCES = MODEL.sequences()
TRUTH = np.array([0.7, -0.4])


def features(answers):
    """How often token 0 comes, and the length."""
    return np.array([[list(answer).count(0), len(answer)] for answer in answers], float)


def tilted(lambdas):
    logw = MODEL.logprobs() - features(SEQUENCES) @ lambdas
    return np.exp(logw - logw.max()) / np.exp(logw - logw.max()).sum()


def test_an_enumerated_law_gives_its_multipliers_back():
    matrix, logp = features(SEQUENCES), MODEL.logprobs()
    found = fit_moments(logp, matrix, tilted(TRUTH) @ matrix, min_ess=0)
    assert np.allclose(found.lambdas, TRUTH, atol=1e-8)
    assert np.allclose(found.means, tilted(TRUTH) @ matrix, atol=1e-8)
    assert abs(found.log_z - np.log((np.exp(logp) * np.exp(-matrix @ TRUTH)).sum())) < 1e-8


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=2), st.floats(0.01, 1e4), st.floats(-1e3, 1e3))
def test_units_and_zeros_of_features_and_weights_do_not_matter(lambdas, unit, shift):
    matrix = features(SEQUENCES)
    target = tilted(np.array(lambdas)) @ matrix
    found = fit_moments(MODEL.logprobs() + shift, matrix * unit + shift, target * unit + shift, min_ess=0)
    assert np.allclose(found.lambdas * unit, lambdas, atol=1e-4)


def test_one_feature_of_two_values_is_solved_by_hand():
    found = fit_moments(np.zeros(100), np.repeat([0.0, 1.0], 50), 0.2)
    assert np.allclose(found.lambdas, np.log(4)) and abs(found.log_z - np.log(0.5 + 0.5 / 4)) < 1e-12
    # By the delta method: var of the log-odds ratio of a sample of 100 at one half, 1 / (100 · 1/4).
    assert np.allclose(found.stderr, 0.2)


def test_samples_give_the_multipliers_within_their_standard_errors():
    """100 fits of 400 draws; z has mean 0 and variance 1: each test fails a right fit with probability below 1e-5."""
    rng, matrix, target = np.random.default_rng(0), features(SEQUENCES), tilted(TRUTH) @ features(SEQUENCES)
    z = []
    for _ in range(100):
        draws = rng.choice(len(SEQUENCES), size=400, p=np.exp(MODEL.logprobs()))
        found = fit_moments(np.zeros(400), matrix[draws], target)
        z.append((found.lambdas - TRUTH) / found.stderr)
    z = np.array(z)
    assert (np.abs(z.mean(0)) * np.sqrt(100) < 4.5 + 1.5).all()  # a bias of order 1/n is allowed for
    assert (np.abs(z.var(0) - 1) < 5.2 * np.sqrt(2 / 100)).all()
    assert ((z * 1.5).var(0) - 1 > 5.2 * np.sqrt(2 / 100)).all()  # errors two thirds as large would be seen


def test_answers_weighed_by_the_potential_have_the_target_means():
    matrix = features(SEQUENCES)
    target = np.array([1.2, 3.5])
    potential = MaxEntropyPotential(features, fit_moments(MODEL.logprobs(), matrix, target, min_ess=0).lambdas)
    context = Context(
        [list(sequence) for sequence in SEQUENCES], [0] * len(SEQUENCES), 3, finished_mask=[True] * len(SEQUENCES)
    )
    weights = np.exp(MODEL.logprobs() - potential(context))
    assert np.allclose(weights @ matrix / weights.sum(), target, atol=1e-7)


def test_the_field_brings_token_means_to_their_targets_in_one_context_and_on_average():
    rng = np.random.default_rng(1)
    energies, per_token = rng.normal(size=(40, 50)) * 2, rng.normal(size=(50, 2))
    energies[3, :10] = np.inf
    target = np.array([0.3, -0.2])
    field, moments = MaxEntropy.fit(per_token, energies, target)
    law = np.exp(log_softmax(-(energies + field(Context([[0]], [0], 50))), -1))
    assert np.allclose((law @ per_token).mean(0), target, atol=1e-7) and np.allclose(moments.means, target, atol=1e-7)
    assert moments.ess == 40 and (moments.stderr > 0).all()
    one, moments = MaxEntropy.fit(per_token, energies[:1], target)
    assert moments.ess == 1 and np.isinf(moments.stderr).all()
    law = np.exp(log_softmax(-(energies[0] + one.energies)))
    assert np.allclose(law @ per_token, target, atol=1e-7)


def test_the_curvature_of_the_dual_is_the_slope_of_its_gradient():
    rng = np.random.default_rng(3)
    logw, per_token, point = rng.normal(size=(5, 9)) * 2, rng.normal(size=(9, 2)), np.array([0.3, -0.6])
    _, gradient, hessian, _ = _evaluate_dual(logw, per_token, point)
    for i, step in enumerate(1e-6 * np.eye(2)):
        (up, slope_up, *_), (down, slope_down, *_) = (_evaluate_dual(logw, per_token, point + s) for s in (step, -step))
        assert np.allclose((up - down) / 2e-6, gradient[i], atol=1e-8)
        assert np.allclose((slope_up - slope_down) / 2e-6, hessian[i], atol=1e-8)


def test_errors_over_contexts_cover_what_other_contexts_give():
    """150 fits on 60 contexts each, against one on 4000: z² has mean 1 (± 0.12 at one standard error)."""
    rng = np.random.default_rng(2)
    per_token, target = rng.normal(size=(12, 1)), np.array([0.4])
    everything = rng.normal(size=(4000, 12))
    truth = MaxEntropy.fit(per_token, everything, target)[1].lambdas
    fits = [MaxEntropy.fit(per_token, rng.normal(size=(60, 12)), target)[1] for _ in range(150)]
    z = np.array([(fit.lambdas - truth)[0] / fit.stderr[0] for fit in fits])
    assert abs((z**2).mean() - 1) < 4.5 * 0.12


def test_the_field_on_a_model_is_the_field_on_its_tokens():
    field = MaxEntropy([[1.0], [0.0], [0.5]], [0.8])
    check_field(field, Context([[0, 1], [1]], [1, 0], 3))
    tilted_law = TableModel(
        lambda prefix: MODEL.open([list(prefix)]).energies()[0] + [0.8, 0, 0.4], 6, stop_token_ids=(2,)
    )
    assert np.allclose(steered_logprobs(MODEL, field), tilted_law.logprobs(), atol=1e-12)


def test_redundant_features_share_their_multiplier():
    matrix = features(SEQUENCES)[:, [0, 0, 1]]
    found = fit_moments(MODEL.logprobs(), matrix, tilted(TRUTH) @ matrix, min_ess=0)
    assert np.allclose([found.lambdas[:2].sum(), found.lambdas[2]], TRUTH, atol=1e-7)
    constant = np.column_stack([matrix, np.ones(len(matrix))])
    assert fit_moments(MODEL.logprobs(), constant, [*(tilted(TRUTH) @ matrix), 1.0], min_ess=0).lambdas[3] == 0


@pytest.mark.parametrize("target", [[6.5, 4], [3, 2], [-0.1, 3], [6, 6], [0, 1]])
def test_targets_outside_the_hull_or_on_its_border(target):
    with pytest.raises(
        BadInput, match="must lie inside the convex hull of the features, got .* outside it or on its boundary"
    ):
        fit_moments(MODEL.logprobs(), features(SEQUENCES), target, min_ess=0)


def test_contradictory_and_unreachable_token_targets():
    with pytest.raises(BadInput, match="must lie inside the convex hull of the features"):
        fit_moments(np.zeros(50), np.tile([[0.0, 1.0], [1.0, 0.0]], (25, 1)), [0.5, 0.7])
    energies = np.array([[0.0, 0.0, np.inf], [np.inf, 0.0, 0.0]])
    with pytest.raises(BadInput, match="no finite multipliers|outside"):
        MaxEntropy.fit([0.0, 1.0, 2.0], energies, 1.8)


def test_few_effective_samples_are_refused_with_the_numbers():
    values = np.arange(200) / 10.0
    with pytest.raises(Unreliable, match="effective samples, fewer than 30") as caught:
        fit_moments(np.zeros(200), values, 0.3)
    assert caught.value.estimate.ess < 30 and np.allclose(caught.value.estimate.means, 0.3, atol=1e-6)


@pytest.mark.parametrize(
    ("weights", "matrix", "target", "said"),
    [
        ([0.0], [[1.0], [2.0]], [1.5], "expected 2 log-weights, one per sample"),
        ([0.0, np.nan], [[1.0], [2.0]], [1.5], "without NaN"),
        ([0.0, 0.0], [[1.0], [np.inf]], [1.5], "finite numbers"),
        ([0.0, 0.0], [[1.0], [2.0]], [1.5, 2.0], "do not fit"),
        ([], np.zeros((0, 1)), [1.5], "do not fit"),
    ],
)
def test_bad_samples(weights, matrix, target, said):
    with pytest.raises(BadInput, match=said):
        fit_moments(weights, matrix, target)


def test_bad_shapes_name_the_energy():
    with pytest.raises(BadInput, match="'max_entropy' has features for 3 tokens, but the vocabulary has 4"):
        MaxEntropy([[1.0], [0.0], [0.5]], [0.8])(Context([[0]], [0], 4))
    with pytest.raises(BadInput, match=r"'lengths' must have shape \(1, 1\), got \(1, 3\)"):
        MaxEntropyPotential(lambda answers: np.ones((1, 3)), [1.0], name="lengths")(Context([[0]], [0], 4))
    with pytest.raises(BadInput, match=r"shape \(n, 3\), one column per token, got \(2, 4\)"):
        MaxEntropy.fit(np.ones(3), np.zeros((2, 4)), 1.0)
    with pytest.raises(BadInput, match="at least one finite value in every row"):
        MaxEntropy.fit(np.ones(3), np.full((2, 3), np.inf), 1.0)
