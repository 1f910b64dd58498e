"""Duplicates among questions, and random splits and folds that never part them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from heatbath.errors import BadInput
from heatbath.trust.calibration.signal_table import Floats, Ints

SIMILARITY = 0.8
"""Weighted share of common words from which two questions are near duplicates."""
_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]")
_NUMBER = re.compile(r"\d")
_BLOCK_ROWS = 512


def find_duplicates(texts: Sequence[str]) -> Ints:
    """Return an integer per text, (n,), equal for duplicates and near duplicates.

    Two texts are near duplicates if the words that they share, with multiplicity and in any order, have at least 80 %
    of the weight of all words of both, and their numbers are the same. The weight of a word is ln((n + 1)/m) for m of
    n texts that have it: the words of a common template count next to nothing, and the one that tells two questions
    apart counts most. What is a duplicate of a duplicate belongs to them.
    """
    words = [Counter(_WORD.findall(text.casefold())) for text in texts]
    signatures = [tuple(sorted(one.items())) for one in words]
    number_of: dict[tuple[tuple[str, int], ...], int] = {}
    exact_n = np.array([number_of.setdefault(one, len(number_of)) for one in signatures], np.int64)
    first = np.unique(exact_n, return_index=True)[1]
    rows, columns = _find_near_pairs([words[i] for i in first.tolist()], len(texts))
    size = len(first)
    graph = csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)[exact_n]


def _find_near_pairs(words: Sequence[Counter[str]], num_texts: int) -> tuple[list[int], list[int]]:
    """Return the rows and columns of near duplicates among different texts."""
    features = [{(word, k) for word, count in one.items() for k in range(count)} for one in words]
    frequency = Counter(feature for one in features for feature in one)
    index = {feature: column for column, feature in enumerate(frequency)}
    if not index:
        return [], []
    weight = np.log((num_texts + 1) / np.array(list(frequency.values()), np.float64))
    columns = [index[feature] for one in features for feature in one]
    bounds = np.cumsum([0, *map(len, features)])
    matrix = csr_array((np.sqrt(weight[columns]), columns, bounds), shape=(len(words), len(index)))
    numbers = [tuple(sorted((w, c) for w, c in one.items() if _NUMBER.match(w))) for one in words]
    pairs = [(i, j) for i, j in _iterate_similar(matrix) if numbers[i] == numbers[j]]
    return [i for i, _ in pairs], [j for _, j in pairs]


def _iterate_similar(matrix: csr_array) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows whose common weight is at least `SIMILARITY` of that of both."""
    total = np.asarray(matrix.multiply(matrix).sum(1)).ravel()
    for first in range(0, matrix.shape[0], _BLOCK_ROWS):
        common = (matrix[first : first + _BLOCK_ROWS] @ matrix.T).tocoo()
        rows, columns = common.coords[0] + first, common.coords[1]
        union = total[rows] + total[columns] - common.data
        near = (common.data >= SIMILARITY * union) & (rows < columns)
        yield from zip(rows[near].tolist(), columns[near].tolist(), strict=True)


def split_units(units: Ints, shares: Sequence[float], seed: int) -> list[Ints]:
    """Return the rows of random parts with about these shares of the units; a unit is in one part, whole.

    The split looks at no label, so that the answers of a part are as independent as those of all.

    Raises:
        BadInput: a part would be empty.
    """
    different, index = np.unique(units, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(different))
    bounds = np.round(np.cumsum([0.0, *shares]) / sum(shares) * len(different)).astype(int)
    if (np.diff(bounds) < 1).any():
        raise BadInput(f"{len(different)} different questions are too few for {len(shares)} parts: give more.")
    part_of_unit = np.empty(len(different), np.int64)
    for part, (low, high) in enumerate(pairwise(bounds.tolist())):
        part_of_unit[order[low:high]] = part
    return [np.flatnonzero(part_of_unit[index] == part) for part in range(len(shares))]


def assign_folds(units: Ints, labels: Ints, folds: int, seed: int) -> Ints:
    """Return the fold of each row, (n,): units whole, and each fold with about the same share of right answers.

    Raises:
        BadInput: there are fewer units than folds.
    """
    different, index = np.unique(units, return_inverse=True)
    if len(different) < folds:
        raise BadInput(f"{folds} folds need at least {folds} different questions, got {len(different)}.")
    share: Floats = np.bincount(index, labels) / np.bincount(index)
    order = np.lexsort((np.random.default_rng(seed).random(len(different)), share))
    fold_of_unit = np.empty(len(different), np.int64)
    fold_of_unit[order] = np.arange(len(different)) % folds
    return fold_of_unit[index]


def keep_one_of_each(units: Ints, seed: int) -> Ints:
    """Return one random row of each unit, in rising order, so that the rows are independent."""
    order = np.random.default_rng(seed).permutation(len(units))
    return np.sort(order[np.unique(units[order], return_index=True)[1]])
