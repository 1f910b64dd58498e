r"""The log-probability of each of several continuations of a prompt, whole sequences of tokens.

The continuations form a tree of their common beginnings, so that each distinct beginning is evaluated once after each
prompt: $\log p(c \mid x) = \sum_i \log p(c_i \mid x, c_{<i})$ at T = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from heatbath.ensemble import state
from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.models.base import Tokens

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ContinuationTree:
    """Continuations as a tree. Node 0 is the end of the prompt; parents come before their children.

    Attributes:
        tokens: token of each node, -1 for the first.
        parents: parent of each node, -1 for the first.
        ends: node at which each continuation ends.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    ends: tuple[int, ...]

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The children of each node."""
        lists: list[list[int]] = [[] for _ in self.tokens]
        for node, parent in enumerate(self.parents[1:], 1):
            lists[parent].append(node)
        return tuple(map(tuple, lists))

    @cached_property
    def inner_nodes(self) -> tuple[int, ...]:
        """The nodes with children, whose energies are needed, the first node first."""
        return tuple(node for node, children in enumerate(self.children) if children)

    def sum_along_paths(self, logprobs: Floats) -> Floats:
        """Return log p of the path to each node from those of its token after its parent, (P, nodes)."""
        total = np.zeros_like(logprobs)
        for node, parent in enumerate(self.parents[1:], 1):
            total[:, node] = total[:, parent] + logprobs[:, node]
        return total


def build_continuation_tree(continuations: Sequence[Tokens]) -> ContinuationTree:
    """Build the tree of some continuations. Raises `BadInput` for none, or for one without tokens."""
    paths = [tuple(map(int, each)) for each in continuations]
    if not paths or not all(paths):
        raise BadInput("a continuation has no tokens: give at least one continuation, each of at least one token.")
    nodes: dict[tuple[int, ...], int] = {(): 0}
    for length in range(1, max(map(len, paths)) + 1):
        for path in paths:
            if len(path) >= length:
                nodes.setdefault(path[:length], len(nodes))
    return ContinuationTree(
        tokens=(-1, *(path[-1] for path in nodes if path)),
        parents=(-1, *(nodes[path[:-1]] for path in nodes if path)),
        ends=tuple(nodes[path] for path in paths),
    )


@dataclass(frozen=True)
class ContinuationScores:
    """Scores of the continuations of P prompts.

    Attributes:
        logprobs: log p of each continuation, (P, C), nats at T = 1.
        hidden: last hidden state after each prompt, (P, D), or None.
    """

    logprobs: Floats
    hidden: Floats | None = None


class ContinuationScorer(Protocol):
    """Scores the continuations of prompts in one model."""

    def cache_prefixes(self, prefixes: Sequence[Tokens]) -> None:
        """Evaluate prefixes that many prompts begin with, where the scorer can keep them; others do nothing."""

    def clear_prefixes(self) -> None:
        """Forget all prefixes."""

    def score(
        self, prompts: Sequence[Tokens], tree: ContinuationTree, *, with_hidden: bool = False
    ) -> ContinuationScores:
        """Return log p of the continuations of each prompt, and its last hidden state if that is asked for."""


@runtime_checkable
class MaskingScorer(Protocol):
    """A scorer that can hide tokens of a prompt from those after them."""

    def score_masked(self, prompt: Tokens, spans: Sequence[tuple[int, int]], tree: ContinuationTree) -> Floats:
        """Return log p of the continuations of a prompt, and with each span (begin, end) hidden, (1 + spans, C)."""


@runtime_checkable
class HiddenStateModel(Protocol):
    """A model that gives hidden states."""

    def hidden_states(self, tokens: Tokens) -> Any:
        """Hidden states of one sequence (T,) before the first layer and after each, (L + 1, T, D)."""


def count_shared_tokens(first: Tokens, second: Tokens) -> int:
    """Return the number of tokens that two sequences begin with in common."""
    differing = (place for place, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
    return next(differing, min(len(first), len(second)))


def conditional_logprobs(energies: Any, rows: Ints, tokens: Ints) -> Floats:
    """Return the log-probability of `tokens` (n,) in `rows` (n,) of energies (B, V) at T = 1.

    Raises `NotANumber` for energies with a NaN.
    """
    log_z = to_numpy(state(energies, 1.0).log_z).astype(np.float64)
    return -to_numpy(energies[rows, tokens]).astype(np.float64) - log_z[rows]
