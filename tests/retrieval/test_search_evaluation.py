"""Metrics of a search against definitions worked out by hand and scikit-learn, intervals, and judged queries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from heatbath.errors import BadInput
from heatbath.retrieval.judged_queries import JudgedQuery, Judgment, read_judged_queries
from heatbath.retrieval.manifest import DocumentRecord, IndexSettings, Manifest
from heatbath.retrieval.passage import Passage, SearchHit
from heatbath.retrieval.search_evaluation import estimate_bounded_mean, measure_ranking, rank_gains


def build_hits(*places: tuple[str, int, int]) -> list[SearchHit]:
    return [
        SearchHit(Passage(str(i), path, "", start, end, "", "", {}), i, 0.0, None, None)
        for i, (path, start, end) in enumerate(places, 1)
    ]


def test_metrics_of_a_ranking_by_hand() -> None:
    found = measure_ranking([0, 1, 0, 1], [1, 1, 1], 4)
    assert found["precision"] == 0.5 and found["recall"] == pytest.approx(2 / 3) and found["mrr"] == 0.5
    ideal = 1 + 1 / np.log2(3) + 0.5
    assert found["ndcg"] == pytest.approx((1 / np.log2(3) + 1 / np.log2(5)) / ideal)
    assert measure_ranking([], [1], 3) == {"precision": 0, "recall": 0, "ndcg": 0, "mrr": 0}


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12).filter(any), st.integers(1, 12))
def test_ndcg_is_that_of_scikit_learn(gains: list[int], k: int) -> None:
    order = np.arange(len(gains), 0, -1)
    found = measure_ranking(gains, [gain for gain in gains if gain], k)
    assert found["ndcg"] == pytest.approx(ndcg_score([gains], [order], k=k))


def test_documents_count_by_their_first_passage_and_answers_once() -> None:
    hits = build_hits(("own", 0, 5), ("a", 0, 5), ("b", 0, 5), ("a", 5, 9), ("c", 0, 5))
    query = JudgedQuery("q", (Judgment("a", 2.0), Judgment("c")), frozenset({"own"}))
    assert rank_gains(query, hits) == [2.0, 0.0, 1.0]
    spans = JudgedQuery("q", (Judgment("a", 1.0, 4, 8),))
    assert rank_gains(spans, hits) == [0.0, 1.0, 0.0, 0.0, 0.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_intervals_hold_the_mean_and_have_a_width(values: list[float]) -> None:
    found = estimate_bounded_mean(np.array(values))
    assert 0 <= found.low <= found.value <= found.high <= 1 and found.low < found.high


def test_the_interval_of_a_mean_covers_at_its_rate() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(2000):
        found = estimate_bounded_mean((rng.random(40) < 0.9).astype(float))
        covered += found.low <= 0.9 <= found.high
    assert covered / 2000 > 0.94  # the standard error of the rate is 0.005


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"query": "", "relevant": ["a"]}, "`query` must be a text"),
        ({"query": "q", "relevant": []}, "`relevant` must be"),
        ({"query": "q", "relevant": ["x"]}, "no document 'x'"),
        ({"query": "q", "relevant": {"a": -1}}, "`grade` above 0"),
        ({"query": "q", "relevant": [{"path": "a", "start": 3, "end": 3}]}, "`start` below `end`"),
        ({"query": "q", "relevant": [{"path": "a", "start": 3}]}, "`start` below `end`"),
        ({"query": "q", "relevant": ["a", {"path": "a", "start": 0, "end": 3}]}, "mixes documents and passages"),
        ({"query": "q", "relevant": ["a"], "exclude": ["y"]}, "no document 'y'"),
    ],
)
def test_judged_queries_that_cannot_be_used_get_a_sentence(
    entry: dict[str, object], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(entry), encoding="utf-8")
    record = DocumentRecord("a", "plain_text", "a", "", 1, "/a", "/a", "")
    with pytest.raises(BadInput, match=f"line 1.*{words}"):
        read_judged_queries(path, Manifest(IndexSettings(), (record,)))
