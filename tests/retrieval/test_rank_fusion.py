"""Rank fusion: the published constants, one entry per item, an order that depends on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.retrieval.rank_fusion import fuse_ranks, rank_rows

RANKINGS = st.lists(st.permutations(range(8)).flatmap(lambda p: st.integers(0, 8).map(lambda n: p[:n])), max_size=3)


def test_first_in_both_lists_scores_0_032787_and_in_one_0_016393() -> None:
    (both, score), (one, single) = fuse_ranks([[7, 1], [7]])
    assert both == 7 and score == pytest.approx(0.032787, abs=5e-7)
    assert one == 1 and single == pytest.approx(1 / 62)
    assert fuse_ranks([[3], []]) == [(3, pytest.approx(0.016393, abs=5e-7))]


@given(RANKINGS)
def test_each_item_counts_once_with_the_sum_of_its_ranks(rankings: list[list[int]]) -> None:
    fused = fuse_ranks(rankings)
    assert {item for item, _ in fused} == {item for ranking in rankings for item in ranking}
    assert len(fused) == len({item for item, _ in fused})
    for item, score in fused:
        assert score == pytest.approx(sum(1 / (61 + r.index(item)) for r in rankings if item in r))
    assert fused == sorted(fused, key=lambda pair: (-pair[1], pair[0]))


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=30), st.integers(1, 10))
def test_rows_of_equal_scores_come_in_order(scores: list[float], depth: int) -> None:
    score_n = np.array(scores, np.float32)
    allowed = np.array([i % 3 != 1 for i in range(len(scores))], bool)
    expected = sorted(np.flatnonzero(allowed).tolist(), key=lambda row: (-scores[row], row))[:depth]
    assert rank_rows(score_n, depth, allowed).tolist() == expected
    everything = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:depth]
    assert rank_rows(score_n, depth).tolist() == everything
