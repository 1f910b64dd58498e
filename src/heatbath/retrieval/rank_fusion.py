"""Reciprocal rank fusion: one ranking from several, by their ranks alone.

Source: Cormack, Clarke and Büttcher 2009, SIGIR, "Reciprocal rank fusion outperforms Condorcet and individual rank
learning methods".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FUSION_K = 60
"""The constant of the published method: a passage of rank r in a list gets 1 / (60 + r) from it."""

Ints = npt.NDArray[np.int64]


def fuse_ranks(rankings: Sequence[Sequence[int]]) -> list[tuple[int, float]]:
    """Return the items of rankings, each with the sum of 1 / (60 + rank) over the lists that it is in, best first.

    Ranks begin at 1. Equal sums are ordered by the item, so that the result does not depend on the order of anything.
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (FUSION_K + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def rank_rows(score_n: npt.NDArray[np.floating], depth: int, is_allowed_n: npt.NDArray[np.bool_] | None = None) -> Ints:
    """Return the allowed rows of the `depth` highest scores, best first; equal ones in order of the row."""
    rows = np.arange(len(score_n)) if is_allowed_n is None else np.flatnonzero(is_allowed_n)
    values = score_n if is_allowed_n is None else score_n[rows]
    if len(rows) > depth:
        bound = np.partition(values, len(values) - depth)[len(values) - depth]
        near = np.flatnonzero(values >= bound)
        rows, values = rows[near], values[near]
    order = np.lexsort((rows, -values))[:depth]
    return np.asarray(rows[order], np.int64)
