"""Weighted finite automata on bytes: the weight of a text is the sum over its paths of the product of their weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heatbath.energy.weighted_language import (
    Floats,
    WeightedLanguage,
    sum_chains,
    transitive_closure,
    validate_weight,
)
from heatbath.errors import BadInput

Arc = tuple[Any, str | bytes, Any, float]
_EMPTY_LABELS = ("<epsilon>", "<eps>")


@dataclass(frozen=True)
class PathWeights:
    """Weight of the paths that lead to each state, (n,), in units of exp(`log_scale`)."""

    vector: Floats
    log_scale: float = 0.0


class WeightedAutomaton(WeightedLanguage[PathWeights]):
    r"""An automaton with states 0 to n - 1, from arcs (source, label, target, weight); labels are texts of any length.

    The weight of a text is $\lambda\, T_{b_1} \cdots T_{b_m}\, \rho$ over its bytes, with `initial` weights $\lambda$
    and `final` weights $\rho$ by state, and the closure over arcs with an empty label before, between and after them.
    That of a prefix is $\lambda\, T_{b_1} \cdots T_{b_k} (1 - \sum_b T_b)^{-1} \rho$. Where this sum over completions
    is infinite, as in an automaton with loops of weight 1, it is the weight of the paths of the prefix that can still
    be completed.

    Raises `BadInput` for weights that are negative or infinite, loops of empty labels with infinite weight, and an
    automaton without any text.
    """

    def __init__(
        self, arcs: Iterable[Arc], final: Mapping[Any, float] | Sequence[Any], initial: Mapping[Any, float] | Any = 0
    ) -> None:
        table = _ArcTable(arcs)
        starts = _read_state_weights(initial if isinstance(initial, Mapping) else {initial: 1.0}, "start")
        finals = _read_state_weights(final if isinstance(final, Mapping) else dict.fromkeys(final, 1.0), "final")
        for name in (*starts, *finals):
            table.number(name)
        size = len(table.numbers)
        self._initial, self._final = np.zeros(size), np.zeros(size)
        for states, vector in ((starts, self._initial), (finals, self._final)):
            for name, weight in states.items():
                vector[table.number(name)] += weight
        self._close_empty_arcs(table.empty_arcs)
        self._arcs = {
            byte: (np.asarray([a for a, _, _ in rows]), np.asarray([b for _, b, _ in rows]), _weights(rows))
            for byte, rows in table.arcs.items()
        }
        self._sum_completions()
        if not (self._initial @ self._completion) > 0:
            raise BadInput(
                "the automaton has no text: no path with a positive weight leads from a start to a final state."
            )

    @classmethod
    def from_att(cls, text: str) -> WeightedAutomaton:
        """Build an acceptor from the text format of OpenFst: `source target label [cost]`, and `state [cost]` if final.

        Costs are minus the logs of weights, in nats. The first state is the start. `<epsilon>` and `<eps>` stand for
        the empty label, `<space>` for a space. Raises `BadInput` with the number of a line that is none of these.
        """
        arcs: list[Arc] = []
        final: dict[str, float] = {}
        start: str | None = None
        for number, line in enumerate(text.splitlines(), 1):
            parts = line.split()
            if not parts:
                continue
            start = parts[0] if start is None else start
            if len(parts) <= 2:
                final[parts[0]] = _read_cost(parts[1:], number)
            elif len(parts) <= 4:
                arcs.append((parts[0], _read_label(parts[2]), parts[1], _read_cost(parts[3:], number)))
            else:
                raise BadInput(
                    f"line {number} of the automaton has {len(parts)} columns: give an acceptor, with 4 at most."
                )
        return cls(arcs, final, {start: 1.0})

    @property
    def num_states(self) -> int:
        """The number of states, with those inside labels of several bytes."""
        return len(self._final)

    def start(self) -> PathWeights:
        return PathWeights(self._initial)

    def extend(self, state: PathWeights, text: bytes) -> PathWeights:
        vector, scale = state.vector, state.log_scale
        for byte in text:
            if byte not in self._arcs:
                return PathWeights(np.zeros(self.num_states))
            sources, targets, weights = self._arcs[byte]
            vector = np.asarray(np.bincount(targets, vector[sources] * weights, self.num_states), np.float64)
            if self._closure is not None:
                vector = vector @ self._closure
            # States that lead nowhere must not set the scale.
            vector = np.where(self._completion > 0, vector, 0.0)
            top = float(vector.max())
            if top == 0:
                return PathWeights(vector)
            vector, scale = vector / top, scale + math.log(top)
        return PathWeights(vector, scale)

    def log_weight(self, state: PathWeights) -> float:
        return _log_product(state, self._final)

    def log_prefix_weight(self, state: PathWeights) -> float:
        return _log_product(state, self._completion)

    def _close_empty_arcs(self, rows: Sequence[tuple[int, int, float]]) -> None:
        """Sum over paths of empty labels after the start and after each byte."""
        self._closure: Floats | None = None
        if not rows:
            return
        empty = np.zeros((self.num_states, self.num_states))
        for source, target, weight in rows:
            empty[source, target] += weight
        self._closure = sum_chains(empty)
        if self._closure is None:
            raise BadInput("the arcs with an empty label form a loop of infinite weight: give them smaller weights.")
        self._initial = self._initial @ self._closure

    def _sum_completions(self) -> None:
        """Compute the total weight of the texts that lead from each state to an end, (n,); 0 where there are none."""
        size = self.num_states
        total = np.zeros((size, size))
        for sources, targets, weights in self._arcs.values():
            np.add.at(total, (sources, targets), weights)
        if self._closure is not None:
            total = total @ self._closure
        reach = transitive_closure(total)
        useful = np.flatnonzero(((self._initial > 0) @ reach) & (reach @ (self._final > 0)))
        chains = sum_chains(total[np.ix_(useful, useful)])
        self._completion = np.zeros(size)
        self._completion[useful] = 1.0 if chains is None else chains @ self._final[useful]


class _ArcTable:
    """Arcs by byte with states as numbers; labels of several bytes pass through states of their own."""

    def __init__(self, arcs: Iterable[Arc]) -> None:
        self.numbers: dict[Any, int] = {}
        self.arcs: dict[int, list[tuple[int, int, float]]] = {}
        self.empty_arcs: list[tuple[int, int, float]] = []
        for arc in arcs:
            if isinstance(arc, str) or len(arc) not in (3, 4):
                raise BadInput(f"an arc is [source, label, target, weight], got {arc!r:.60}.")
            source, label, target, *weight = arc
            self._add(source, label, target, validate_weight(weight[0] if weight else 1.0, f"the arc {arc!r:.60}"))

    def number(self, name: Any) -> int:
        """Return the number of a state; names are compared as texts, as the keys of JSON objects are."""
        return self.numbers.setdefault(name if isinstance(name, tuple) else str(name), len(self.numbers))

    def _add(self, source: Any, label: str | bytes, target: Any, weight: float) -> None:
        if not isinstance(label, str | bytes):
            raise BadInput(f"the label of an arc must be a text, got {label!r:.60}.")
        data = label.encode() if isinstance(label, str) else label
        here = self.number(source)
        if not data:
            self.empty_arcs.append((here, self.number(target), weight))
            return
        for place, byte in enumerate(data):
            is_last = place == len(data) - 1
            there = self.number(target) if is_last else self.number((len(self.numbers),))
            self.arcs.setdefault(byte, []).append((here, there, weight if is_last else 1.0))
            here = there


def _weights(rows: Sequence[tuple[int, int, float]]) -> Floats:
    return np.asarray([weight for _, _, weight in rows])


def _log_product(state: PathWeights, vector: Floats) -> float:
    total = float(state.vector @ vector)
    return state.log_scale + math.log(total) if total > 0 else -math.inf


def _read_state_weights(weights: Mapping[Any, Any], kind: str) -> dict[str, float]:
    return {str(name): validate_weight(weight, f"the {kind} state {name!r:.60}") for name, weight in weights.items()}


def _read_label(label: str) -> str:
    if label in _EMPTY_LABELS:
        return ""
    return " " if label == "<space>" else label


def _read_cost(parts: Sequence[str], number: int) -> float:
    try:
        cost = float(parts[0]) if parts else 0.0
        return math.exp(-cost)
    except (ValueError, OverflowError):
        raise BadInput(
            f"line {number} of the automaton has the cost {parts[0]!r:.40}: give a number of nats."
        ) from None
