r"""Weighted context-free grammars: weights of texts and of prefixes, byte by byte.

The weight of a text is the sum over its derivations of the product of the weights of their rules. With the rules in
binary form and without empty right sides, the weight $\beta_A(i, j)$ of a span is the usual inside sum. The weight of
all texts of $A$ that begin with the symbols from i to the last one, n, is (Jelinek and Lafferty 1991)

$$\pi(i) = R \Bigl[\, \sum_{A \to BC} w \sum_{k<n} \beta_B(i, k)\, \pi_C(k+1) \Bigr], \qquad R = (1 - U - P)^{-1}$$

with $U$ the rules with one nonterminal and $P_{AB} = \sum_C w\, z_C$ those whose left child covers the prefix, $z_C$
the total weight of $C$. Time grows with the cube of the length of a text, memory with its square.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from heatbath.energy.grammar_rules import BinaryRules, build_binary_rules, parse_rules
from heatbath.energy.weighted_language import (
    Floats,
    WeightedLanguage,
    least_fixed_point,
    sum_chains,
    transitive_closure,
)
from heatbath.errors import BadInput


@dataclass(frozen=True)
class ParseChart:
    """The spans of a text by their last byte: rows (n, N) and log-scales (n,) of each column, and weights of the text.

    `log_weight` is that of the text itself, `log_prefix_weight` that of all texts that begin with it.
    """

    log_weight: float
    log_prefix_weight: float
    columns: tuple[Floats, ...] = ()
    log_scales: tuple[Floats, ...] = ()


class WeightedGrammar(WeightedLanguage[ParseChart]):
    """A grammar in the notation of `heatbath.energy.grammar_rules`; the rules need not be normalized.

    Where the total weight of all texts is infinite, as in a recursive grammar whose weights are all 1, prefixes have
    weight 1 if a text begins with them, and 0 otherwise.

    Raises `BadInput` for a grammar that cannot be read, without any text, or with infinitely many derivations of the
    same text whose weights have no finite sum.
    """

    def __init__(self, text: str) -> None:
        self.rules: BinaryRules = build_binary_rules(parse_rules(text))
        rules, size = self.rules, len(self.rules.names)
        empty = least_fixed_point(rules.empty, rules.single, rules.pairs, rules.pair_weights)
        if empty is None:
            raise BadInput("the empty derivations of the grammar have infinite weight: give them smaller weights.")
        parent, left, right = rules.pairs.T
        # A child that is empty leaves the rule with the other one alone.
        single = rules.single.copy()
        np.add.at(single, (parent, left), rules.pair_weights * empty[right])
        np.add.at(single, (parent, right), rules.pair_weights * empty[left])
        closure = sum_chains(single)
        if closure is None:
            raise BadInput("rules that replace a symbol by itself have infinite weight: give them smaller weights.")
        self._empty_weight, self._closure = float(empty[0]), closure
        lexical = np.sum([np.zeros(size), *rules.bytes.values()], axis=0)
        total = least_fixed_point(lexical, single, rules.pairs, rules.pair_weights)
        corner = None
        if total is not None:
            left_corner = single.copy()
            np.add.at(left_corner, (parent, left), rules.pair_weights * total[right])
            corner = sum_chains(left_corner)
        self.has_finite_total = corner is not None
        if corner is None or total is None:
            steps = single > 0
            steps[parent, left] = True
            corner, total = transitive_closure(steps.astype(np.float64)).astype(np.float64), np.ones(size)
        self._corner = np.ascontiguousarray(corner)
        self._total_weight = float(total[0]) + self._empty_weight

    @cached_property
    def _start(self) -> ParseChart:
        with np.errstate(divide="ignore"):
            weight = float(np.log(self._empty_weight))
        return ParseChart(weight, float(np.log(self._total_weight)) if self.has_finite_total else 0.0)

    def start(self) -> ParseChart:
        return self._start

    def extend(self, state: ParseChart, text: bytes) -> ParseChart:
        if not text or state.log_prefix_weight == -np.inf:
            return state
        if not set(text) <= self.rules.bytes.keys():
            return ParseChart(-np.inf, -np.inf)
        return self._fill_chart(state, text)

    def log_weight(self, state: ParseChart) -> float:
        return state.log_weight

    def log_prefix_weight(self, state: ParseChart) -> float:
        return state.log_prefix_weight

    def _fill_chart(self, state: ParseChart, text: bytes) -> ParseChart:
        from heatbath.kernels.parse_chart import fill_column

        size, before = len(self.rules.names), len(state.columns)
        spans = (before + len(text)) * (before + len(text) + 1) // 2
        chart, scales, prefix = np.empty((spans, size)), np.empty(spans), np.zeros(size)
        if before:
            filled = before * (before + 1) // 2
            chart[:filled], scales[:filled] = np.concatenate(state.columns), np.concatenate(state.log_scales)
        prefix_scale = -np.inf
        for n, byte in enumerate(text, before + 1):
            prefix_scale = fill_column(
                chart,
                scales,
                n,
                self.rules.bytes[byte],
                self.rules.pairs,
                self.rules.pair_weights,
                self._closure,
                self._corner,
                prefix,
            )
            if prefix[0] == 0:
                return ParseChart(-np.inf, -np.inf)
        return self._collect(state, chart, scales, float(prefix_scale + np.log(prefix[0])))

    def _collect(self, state: ParseChart, chart: Floats, scales: Floats, log_prefix: float) -> ParseChart:
        columns, log_scales, n = list(state.columns), list(state.log_scales), len(state.columns)
        while n * (n + 1) // 2 < len(scales):
            first, n = n * (n + 1) // 2, n + 1
            # Copies, so that a state holds on to no more than its own columns.
            columns.append(chart[first : first + n].copy())
            log_scales.append(scales[first : first + n].copy())
        with np.errstate(divide="ignore"):
            log_weight = float(log_scales[-1][0] + np.log(columns[-1][0, 0]))
        chart_state = ParseChart(log_weight, log_prefix, tuple(columns), tuple(log_scales))
        return chart_state if self.has_finite_total else replace(chart_state, log_prefix_weight=0.0)
