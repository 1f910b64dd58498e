"""The scoring of a request's continuations, between the steps of running requests."""

from __future__ import annotations

from typing import Protocol

from heatbath.engine.base import Request
from heatbath.engine.local.request_state import RequestState
from heatbath.models.continuations import ContinuationScorer, ContinuationScores, build_continuation_tree

PROMPT_POSITIONS = 256
"""Positions of a prompt that are evaluated between two steps of running rows."""


class Scoring(Protocol):
    """Work on a request before it has rows, done in steps."""

    def step(self) -> bool:
        """Do the next step; return False when there was none."""

    def write(self, job: RequestState) -> None:
        """Write the result to its request."""


class ContinuationScoring:
    """Scores the continuations of one request: the prompt piece by piece, then the tree of the continuations.

    What the scorer keeps of the prompt is dropped at the end, so that no request can tell what another one asked.
    """

    def __init__(self, scorer: ContinuationScorer, request: Request) -> None:
        self._scorer, self._prompt = scorer, request.prompt
        self._tree = build_continuation_tree(request.continuations)
        self._with_hidden = request.hidden_state
        self._num_read = 0
        self._scores: ContinuationScores | None = None

    def step(self) -> bool:
        """Evaluate a piece of the prompt, or the continuations; return False once these have been."""
        if self._scores is not None:
            return False
        if not self._num_read:
            self._scorer.clear_prefixes()  # a request that was cancelled has left its own
        if self._num_read + PROMPT_POSITIONS < len(self._prompt):
            self._num_read += PROMPT_POSITIONS
            self._scorer.cache_prefixes([self._prompt[: self._num_read]])
            return True
        self._scores = self._scorer.score([self._prompt], self._tree, with_hidden=self._with_hidden)
        self._scorer.clear_prefixes()
        return True

    def write(self, job: RequestState) -> None:
        """Write the log-probabilities, and the hidden state if there is one."""
        if self._scores is not None:
            job.continuation_logprobs = self._scores.logprobs[0].tolist()
            hidden = self._scores.hidden
            job.hidden_state = () if hidden is None else hidden[0].tolist()
