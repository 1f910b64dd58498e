"""The scoring of a request's continuations, between the steps of running requests."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from heatbath.engine.base import Request
from heatbath.engine.local.request_state import RequestState
from heatbath.models.continuations import ContinuationScorer, Floats, build_continuation_tree, count_shared_tokens

PROMPT_POSITIONS = 256
"""Positions of prompts that are evaluated between two steps of running rows."""


class Scoring(Protocol):
    """Work on a request before it has rows, done in steps."""

    def step(self) -> bool:
        """Do the next step; return False when there was none."""

    def write(self, job: RequestState) -> None:
        """Write the result to its request."""


class ContinuationScoring:
    """Scores the continuations of one request after each of its prompts.

    A prompt is read piece by piece, then comes the tree of the continuations. What further prompts share with the first
    one is read once; those of which little is left are scored together. What the scorer keeps of the prompts is dropped
    at the end, so that no request can tell what another one asked.
    """

    def __init__(self, scorer: ContinuationScorer, request: Request) -> None:
        self._scorer = scorer
        self._prompts = (request.prompt, *request.further_prompts)
        self._tree = build_continuation_tree(request.continuations)
        self._with_hidden = request.hidden_state
        self._shared = [count_shared_tokens(request.prompt, each) for each in request.further_prompts]
        self._is_started = False
        self._num_read = 0
        self._logprobs: list[Floats] = []
        self._hidden: Floats | None = None

    def step(self) -> bool:
        """Evaluate a piece of a prompt, or the continuations of some; return False once all have been."""
        if not self._is_started:
            self._scorer.clear_prefixes()  # a request that was cancelled has left its own
            self._is_started = True
        begin = len(self._logprobs)
        if begin == len(self._prompts):
            return False
        if not self._read_piece(begin):
            end = self._find_group_end(begin)
            scores = self._scorer.score(self._prompts[begin:end], self._tree, with_hidden=self._with_hidden)
            self._logprobs += list(scores.logprobs)
            self._hidden = self._hidden if scores.hidden is None or begin else scores.hidden[0]
            self._num_read = self._shared[end - 1] if end < len(self._prompts) else 0
            if end == len(self._prompts):
                self._scorer.clear_prefixes()
        return True

    def _read_piece(self, number: int) -> bool:
        """Evaluate a piece of a prompt, up to what its scoring evaluates anyhow; return False if there is none left."""
        prompt = self._prompts[number]
        end = max(len(prompt) - PROMPT_POSITIONS, 0 if number else max(self._shared, default=0))
        if self._num_read >= end:
            return False
        self._num_read = min(self._num_read + PROMPT_POSITIONS, end)
        kept = [] if not number else [self._prompts[0][: max(self._shared)]]
        self._scorer.cache_prefixes([*kept, prompt[: self._num_read]])
        return True

    def _find_group_end(self, begin: int) -> int:
        """Return the end of the prompts from `begin` on that are scored together."""
        end, nodes = begin + 1, len(self._tree.inner_nodes)
        positions = len(self._prompts[begin]) - self._num_read + nodes
        while end < len(self._prompts):
            positions += len(self._prompts[end]) - self._shared[end - 1] + nodes
            if positions > PROMPT_POSITIONS:
                break
            end += 1
        return end

    def write(self, job: RequestState) -> None:
        """Write the log-probabilities, and the hidden state if there is one."""
        if self._logprobs:
            job.continuation_logprobs = self._logprobs[0].tolist()
            job.further_logprobs = np.array(self._logprobs[1:]).tolist()
            job.hidden_state = () if self._hidden is None else self._hidden.tolist()
