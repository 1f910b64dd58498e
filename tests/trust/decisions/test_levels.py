"""Orders, offsets and temperatures: what each takes away, exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from heatbath.errors import BadInput
from heatbath.trust.decisions.levels import (
    MIN_LABELED,
    average_orders,
    fit_offsets,
    fit_temperature,
    label_probabilities,
)
from heatbath.trust.decisions.questions import build_question

SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS, labels=st.integers(2, 6), scale=st.sampled_from([0.1, 3.0, 30.0]))
def test_all_rotations_remove_an_energy_of_the_place(seed: int, labels: int, scale: float) -> None:
    """Log p(label | order) = s(label) + b(place of the label): only s is left."""
    rng = np.random.default_rng(seed)
    own, places = rng.normal(size=(3, 1, labels)), rng.normal(0, scale, labels)
    orders = build_question("q", [f"label {i}" for i in range(labels)]).list_orders()
    bias = np.array([[places[order.index(label)] for label in range(labels)] for order in orders])
    plain, biased = average_orders(own + 0 * bias), average_orders(own + bias)
    assert label_probabilities(biased) == pytest.approx(label_probabilities(plain), abs=1e-9)
    one = label_probabilities(average_orders((own + bias)[:, :1]))
    assert scale < 1 or not np.allclose(one, label_probabilities(plain), atol=1e-3)


@given(seed=SEEDS, labels=st.integers(2, 6), scale=st.sampled_from([0.1, 3.0, 20.0]))
def test_offsets_remove_a_bias_of_labels(seed: int, labels: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    scores, bias = rng.normal(0, 2, (60, labels)), rng.normal(0, scale, labels)
    plain = label_probabilities(scores, offsets=fit_offsets(scores))
    biased = label_probabilities(scores + bias, offsets=fit_offsets(scores + bias))
    assert biased == pytest.approx(plain, abs=1e-6)
    assert plain.mean(0) == pytest.approx(np.full(labels, 1 / labels), abs=1e-7)


@given(seed=SEEDS)
def test_offsets_meet_the_rates_of_the_pool(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, rates = rng.normal(0, 3, (50, 4)), rng.dirichlet(np.full(4, 3.0)) * 0.9 + 0.025
    found = label_probabilities(scores, offsets=fit_offsets(scores, rates.tolist()))
    assert found.mean(0) == pytest.approx(rates, abs=1e-6)


@given(seed=SEEDS, true=st.floats(0.3, 5.0))
def test_a_temperature_of_two_labels_is_a_logistic_regression(seed: int, true: float) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 3, (400, 2))
    answers = (rng.random(400) < softmax(scores / true, axis=1)[:, 1]).astype(np.int64)
    found = fit_temperature(scores, answers)
    regression = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-10, max_iter=10_000)
    slope = regression.fit((scores[:, 1] - scores[:, 0])[:, None], answers).coef_[0, 0]
    assert 1 / found == pytest.approx(slope, rel=1e-3)


def test_a_temperature_is_where_the_mean_energy_is_that_of_the_answers() -> None:
    rng = np.random.default_rng(5)
    scores = rng.normal(0, 3, (300, 6))
    answers = np.array([rng.choice(6, p=row) for row in softmax(scores / 2.5, axis=1)])
    found = fit_temperature(scores, answers)
    mean = (label_probabilities(scores, temperature=found) * scores).sum(1).mean()
    assert mean == pytest.approx(scores[np.arange(300), answers].mean(), abs=1e-5)
    assert found == pytest.approx(2.5, rel=0.25)


@pytest.mark.parametrize("count", [0, 1, 49])
def test_too_few_texts_are_counted(count: int) -> None:
    with pytest.raises(BadInput, match=f"needs 50 labeled texts, got {count}: give {50 - count} more"):
        fit_temperature(np.zeros((count, 2)), np.zeros(count, np.int64))
    assert MIN_LABELED["temperature"] == 50
    with pytest.raises(BadInput, match="needs 20 texts without labels, got 3: give 17 more"):
        fit_offsets(np.zeros((3, 2)))


@pytest.mark.parametrize("rates", [[0.5], [0.5, 0.6], [1.0, 0.0], [float("nan"), 0.5]])
def test_rates_are_a_distribution(rates: list[float]) -> None:
    with pytest.raises(BadInput, match="`rates` must be 2 numbers above 0"):
        fit_offsets(np.zeros((30, 2)), rates)


def test_an_impossible_label() -> None:
    scores = np.array([[[0.0, -np.inf]], [[-np.inf, -np.inf]]])
    assert label_probabilities(average_orders(scores[:1])).tolist() == [[1.0, 0.0]]
    with pytest.raises(BadInput, match="no label a probability for text 1"):
        average_orders(scores)
    with pytest.raises(BadInput, match="label 1 is impossible"):
        fit_offsets(np.array([[0.0, -np.inf]] * 30))
