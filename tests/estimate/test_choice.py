"""Best of n and majority vote against every way to draw; which settings are told apart, at the stated rate."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.estimate.best_of_n import best_of_n_score, bootstrap_means, is_tied_with_best, majority_vote_score

ANSWERS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=7)


def every_draw(answers, n, of) -> float:
    return float(np.mean([of(drawn) for drawn in combinations(answers, n)]))


def top_score(scores, votes, drawn) -> float:
    """The score of the most frequent vote of some answers, ties split evenly."""
    names = [votes[i] for i in drawn]
    top = max(map(names.count, names))
    winners = sorted({name for name in names if names.count(name) == top})
    return float(np.mean([np.mean([s for s, v in zip(scores, votes, strict=True) if v == name]) for name in winners]))


@given(ANSWERS, st.data())
def test_both_are_averages_over_every_draw(answers, data):
    n = data.draw(st.integers(1, len(answers)))
    votes, scores = [vote for vote, _ in answers], np.array([score for _, score in answers])
    assert best_of_n_score(scores, n) == pytest.approx(every_draw(scores, n, max), abs=1e-12)
    expected = every_draw(range(len(answers)), n, lambda drawn: top_score(scores, votes, drawn))
    assert majority_vote_score(scores, votes, n) == pytest.approx(expected, abs=1e-12)


def test_best_of_n_is_the_formula_for_right_and_wrong():
    from math import comb

    scores = np.r_[np.ones(3), np.zeros(13)]
    assert best_of_n_score(scores, 8) == pytest.approx(1 - comb(13, 8) / comb(16, 8), abs=1e-12)
    assert best_of_n_score(scores, 16) == 1 and best_of_n_score(scores, 1) == pytest.approx(3 / 16)


def test_one_vote_is_one_answer_and_all_votes_are_the_plurality():
    scores, votes = np.array([1.0, 1, 0, 0, 0]), list("aabcd")
    assert majority_vote_score(scores, votes, 1) == pytest.approx(0.4)
    assert majority_vote_score(scores, votes, 5) == pytest.approx(1.0)


def scored(seed: int, accuracies, prompts: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Means and bootstrap draws of prompts that differ in difficulty, answered right at the given rates."""
    rng = np.random.default_rng(seed)
    easier = rng.normal(0, 0.15, (prompts, 1))
    scores = rng.binomial(8, np.clip(np.array(accuracies) + easier, 0, 1)) / 8
    return scores.mean(0), bootstrap_means(scores, rng, 400)


def test_equal_settings_are_all_kept_at_the_stated_rate():
    """95 % of 120 seeds; fewer than 105 with probability below 1e-3 (binomial at 94 %)."""
    assert sum(bool(is_tied_with_best(*scored(seed, [0.4] * 6)).all()) for seed in range(120)) >= 105


def test_a_clearly_worse_setting_is_told_apart_and_the_best_is_kept():
    """A difference of 0.2 is five standard errors; the true best is dropped in at most 5 % of seeds."""
    kept = np.array([is_tied_with_best(*scored(seed, [0.2, 0.4, 0.42, 0.2])) for seed in range(60)])
    assert kept[:, [0, 3]].mean() < 0.1
    assert kept[:, 2].mean() > 0.9


def test_settings_that_never_differ_and_always_differ():
    """Without any spread a difference is none, or certain."""
    right = np.random.default_rng(0).integers(0, 2, (12, 1)).astype(float)
    scores = np.concatenate([right, right, np.ones((12, 1)), np.zeros((12, 1))], axis=1)
    draws = bootstrap_means(scores, np.random.default_rng(1))
    assert is_tied_with_best(scores.mean(0), draws).tolist() == [False, False, True, False]
    assert is_tied_with_best(scores[:, :2].mean(0), draws[:, :2]).tolist() == [True, True]
    assert is_tied_with_best(scores[:, :1].mean(0), draws[:, :1]).tolist() == [True]


def test_the_spread_of_resampled_means_is_the_standard_error():
    """With 8000 draws the standard deviation is known to 1 %: four of these."""
    scores = np.random.default_rng(0).normal(size=(10, 3))
    draws = bootstrap_means(scores, np.random.default_rng(1), 8000)
    assert np.allclose(draws.std(0), scores.std(0, ddof=1) / np.sqrt(10), rtol=0.04)
    assert np.allclose(draws.mean(0), scores.mean(0), atol=0.02)
