"""Precision, recall, nDCG and MRR of an index against judged queries, with 95 % intervals, modes compared in pairs.

Source: Järvelin and Kekäläinen 2002, ACM TOIS 20(4), for the nDCG; its gain is the grade itself, as in trec_eval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from heatbath.errors import BadInput
from heatbath.estimate.paired_differences import Difference, estimate_mean_difference
from heatbath.retrieval.document_index import DocumentIndex, SearchMode
from heatbath.retrieval.judged_queries import JudgedQuery, Judgment
from heatbath.retrieval.passage import Passage, SearchHit

METRICS = ("precision", "recall", "ndcg", "mrr")
MODES: tuple[SearchMode, ...] = ("bm25", "dense", "hybrid")
_SEARCH_DEPTH = 10
"""Passages that are looked at for each of the first k documents."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SearchEvaluation:
    """Metrics at `k` of an index over judged queries.

    Attributes:
        values: by mode and metric, the value of each query, (queries,).
        means: by mode and metric, the mean with its interval.
        differences: by pair of modes "b - a" and metric, the mean difference over the same queries with its interval.
    """

    k: int
    version: str
    queries: int
    values: Mapping[str, Mapping[str, Floats]]
    means: Mapping[str, Mapping[str, Difference]]
    differences: Mapping[str, Mapping[str, Difference]]


def evaluate_search(
    index: DocumentIndex,
    queries: Sequence[JudgedQuery],
    *,
    k: int = 10,
    modes: Iterable[SearchMode] = MODES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SearchEvaluation:
    """Search for every query in every mode, and compare what is found with the judgments.

    Raises:
        BadInput: fewer than two queries, or k < 1.
    """
    if len(queries) < 2 or k < 1:
        raise BadInput(f"an evaluation needs two queries and k >= 1, got {len(queries)} and k = {k}: give more.")
    names = tuple(modes)
    rows: dict[str, list[dict[str, float]]] = {mode: [] for mode in names}
    for done, query in enumerate(queries, 1):
        for mode in names:
            hits = index.search(query.query, k=_SEARCH_DEPTH * (k + len(query.exclude)), mode=mode)
            rows[mode].append(measure_ranking(rank_gains(query, hits), [each.grade for each in query.relevant], k))
        progress(done, len(queries))
    values: dict[str, dict[str, Floats]] = {
        mode: {name: np.array([row[name] for row in rows[mode]]) for name in METRICS} for mode in names
    }
    return SearchEvaluation(
        k=k,
        version=index.version,
        queries=len(queries),
        values=values,
        means={mode: {name: estimate_bounded_mean(values[mode][name]) for name in METRICS} for mode in names},
        differences={
            f"{b} - {a}": {name: estimate_mean_difference(values[b][name] - values[a][name]) for name in METRICS}
            for a, b in combinations(names, 2)
        },
    )


def rank_gains(query: JudgedQuery, hits: Iterable[SearchHit]) -> list[float]:
    """Return the gain of each place of a ranking: of passages, or of documents by their first passage.

    What answers the query counts once: a second passage of the same answer has gain 0.
    """
    left = list(query.relevant)
    gains, seen = [], set(query.exclude)
    for hit in hits:
        passage = hit.passage
        if passage.document in seen:
            continue
        if not query.judges_passages:
            seen.add(passage.document)
        found = next((each for each in left if _answers(passage, each)), None)
        if found is not None:
            left.remove(found)
        gains.append(found.grade if found is not None else 0.0)
    return gains


def measure_ranking(gains: Sequence[float], grades: Sequence[float], k: int) -> dict[str, float]:
    """Return the metrics at k of one ranking, given the gain of each place and the grades of all that is relevant."""
    top = np.asarray(gains[:k], np.float64)
    places = np.flatnonzero(top > 0)
    ideal = sorted(grades, reverse=True)[:k]
    return {
        "precision": len(places) / k,
        "recall": len(places) / len(grades),
        "ndcg": _discounted_gain(top) / _discounted_gain(np.array(ideal)),
        "mrr": 1 / (1 + float(places[0])) if len(places) else 0.0,
    }


def estimate_bounded_mean(value_n: Floats) -> Difference:
    """Return the mean of values from 0 to 1, (n,), with a t interval that has a width even if all are equal.

    The interval is that of the sample with 0, 0, 1 and 1 added, as Agresti and Coull 1998 do for proportions.
    """
    mean = float(value_n.mean())
    wide = estimate_mean_difference(np.concatenate([value_n, [0.0, 0.0, 1.0, 1.0]]))
    low, high = max(0.0, min(mean, wide.low)), min(1.0, max(mean, wide.high))
    return Difference(mean, low, high, wide.p_value, len(value_n))


def _answers(passage: Passage, judgment: Judgment) -> bool:
    if judgment.start is None or judgment.end is None:
        return passage.document == judgment.path
    return passage.document == judgment.path and passage.start < judgment.end and judgment.start < passage.end


def _discounted_gain(gains: Floats) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())
