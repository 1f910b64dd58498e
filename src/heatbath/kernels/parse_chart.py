"""A column of the parse chart of a weighted grammar: the weights of all spans that end at a new symbol.

Spans are numbered from 1: the span from i to n has the row n (n - 1) / 2 + i - 1 of the packed chart, so that columns
follow one another. A row (N,) holds the weight of each nonterminal in units of the exponential of its log-scale, which
keeps long texts within the range of numbers; a row of zeros has the log-scale -inf.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from heatbath.kernels.jit import jit


@jit
def normalize_row(row: Any, scale: float) -> float:
    """Divide a row by its greatest entry in place and return its log-scale; -inf for a row of zeros."""
    top = row.max()
    if top <= 0.0:
        row[:] = 0.0
        return -np.inf
    row /= top
    return float(scale + np.log(top))


@jit
def _sum_splits(chart: Any, scales: Any, first: int, n: int, right: Any, right_scales: Any, rules: Any, w: Any) -> Any:
    """Return sums over rules and split points of left times right for spans from `first`, (N,), and their log-scale."""
    total = np.zeros(chart.shape[1])
    top = -np.inf
    for k in range(first, n):
        top = max(top, scales[k * (k - 1) // 2 + first - 1] + right_scales[k])
    if top == -np.inf:
        return total, top
    for k in range(first, n):
        at = k * (k - 1) // 2 + first - 1
        factor = np.exp(scales[at] + right_scales[k] - top)
        if factor == 0.0:
            continue
        for rule in range(len(w)):
            left = chart[at, rules[rule, 1]]
            if left != 0.0:
                total[rules[rule, 0]] += factor * w[rule] * left * right[k, rules[rule, 2]]
    return total, top


@jit
def fill_column(
    chart: Any, scales: Any, n: int, lexical: Any, rules: Any, w: Any, closure: Any, corner: Any, prefix: Any
) -> float:
    """Fill column n of `chart` (P, N) and `scales` (P,), and the row `prefix` (N,); return the log-scale of `prefix`.

    `prefix` is the weight of all texts that begin with the n symbols. `lexical` (N,) are the weights of the rules with
    the new symbol alone, `rules` (R, 3) parent, left and right of those with two nonterminals and `w` (R,) their
    weights; `closure` and `corner` (N, N) sum over chains of rules with one nonterminal and of left corners.
    """
    size, base = chart.shape[1], n * (n - 1) // 2
    # Row k holds the weight of spans from k + 1.
    prefixes, prefix_scales = np.zeros((n, size)), np.full(n, -np.inf)
    for first in range(n, 0, -1):
        if first == n:
            inside, scale, before, before_scale = lexical, 0.0, lexical, 0.0
        else:
            column, column_scales = chart[base : base + n], scales[base : base + n]
            inside, scale = _sum_splits(chart, scales, first, n, column, column_scales, rules, w)
            before, before_scale = _sum_splits(chart, scales, first, n, prefixes, prefix_scales, rules, w)
        chart[base + first - 1] = closure @ inside
        scales[base + first - 1] = normalize_row(chart[base + first - 1], scale)
        prefixes[first - 1] = corner @ before
        prefix_scales[first - 1] = normalize_row(prefixes[first - 1], before_scale)
    prefix[:] = prefixes[0]
    return float(prefix_scales[0])
