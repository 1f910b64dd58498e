"""Scores of continuations in sessions of any model, and the choice of the scorer that suits a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heatbath.ensemble.arrays import to_numpy
from heatbath.errors import BadInput
from heatbath.models.base import Model, NetworkModel, Tokens
from heatbath.models.continuations import (
    ContinuationScorer,
    ContinuationScores,
    ContinuationTree,
    Floats,
    HiddenStateModel,
    conditional_logprobs,
)

MAX_ROWS = 256
"""Rows of a session that scores continuations."""


class SessionScorer:
    """A scorer for any model: rows of a session, one for each prompt and node with children."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def cache_prefixes(self, prefixes: Sequence[Tokens]) -> None:
        """Do nothing: sessions share no prefixes."""

    def clear_prefixes(self) -> None:
        """Do nothing: there are none."""

    def score(
        self, prompts: Sequence[Tokens], tree: ContinuationTree, *, with_hidden: bool = False
    ) -> ContinuationScores:
        """Return log p of the continuations of each prompt, and its last hidden state if that is asked for."""
        size = max(1, MAX_ROWS // len(tree.inner_nodes))
        parts = [self._score_batch(prompts[begin : begin + size], tree) for begin in range(0, len(prompts), size)]
        logprobs = np.concatenate(parts)[:, list(tree.ends)]
        hidden = np.stack([self._read_hidden_state(prompt) for prompt in prompts]) if with_hidden else None
        return ContinuationScores(logprobs, hidden)

    def _read_hidden_state(self, prompt: Tokens) -> Floats:
        if not isinstance(self._model, HiddenStateModel):
            raise BadInput(f"{self._model.name} gives no hidden states: choose a level other than head.")
        last: Any = self._model.hidden_states(prompt)[-1, -1]
        return to_numpy(last).astype(np.float64)

    def _score_batch(self, prompts: Sequence[Tokens], tree: ContinuationTree) -> Floats:
        """Return log p of all nodes after each prompt, (P, nodes), level by level."""
        logprobs = np.zeros((len(prompts), len(tree.tokens)))
        session = self._model.open(prompts)
        rows = [(prompt, 0) for prompt in range(len(prompts))]
        try:
            while rows:
                _write_child_logprobs(logprobs, tree, rows, session.energies())
                grown = [
                    (row, prompt, child)
                    for row, (prompt, node) in enumerate(rows)
                    for child in tree.children[node]
                    if tree.children[child]
                ]
                if grown:
                    session.fork([row for row, _, _ in grown])
                    session.push([tree.tokens[child] for _, _, child in grown])
                rows = [(prompt, child) for _, prompt, child in grown]
        finally:
            session.close()
        return tree.sum_along_paths(logprobs)


def _write_child_logprobs(
    logprobs: Floats, tree: ContinuationTree, rows: Sequence[tuple[int, int]], energies: Any
) -> None:
    """Write log p of the children of (prompt, node) `rows`, whose energies (n, V) are given."""
    places = [(row, prompt, child) for row, (prompt, node) in enumerate(rows) for child in tree.children[node]]
    row_index, prompt_index, children = (np.array(column) for column in zip(*places, strict=True))
    tokens = np.array(tree.tokens)[children]
    logprobs[prompt_index, children] = conditional_logprobs(energies, row_index, tokens)


def build_continuation_scorer(model: Model) -> ContinuationScorer:
    """Return the scorer that suits a model: one pass over whole trees where its network can do that, else sessions."""
    sessions = SessionScorer(model)
    if isinstance(model, NetworkModel):
        from heatbath.models.hf.tree_scoring import build_tree_scorer

        scorer = build_tree_scorer(model, sessions)
        if scorer is not None:
            return scorer
    return sessions
