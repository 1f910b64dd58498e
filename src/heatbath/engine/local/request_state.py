"""A running request and its sequences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from heatbath.engine.base import Token
from heatbath.engine.local.request_compiler import CompiledRequest
from heatbath.engine.pool_session import PoolRows


@dataclass(eq=False)
class RequestState:
    """A request on its way through the engine. Its stream sets `cancelled`; the engine thread sets all else.

    Attributes:
        compiled: the validated request.
        stream: receives its events.
        arrival_time: when it was submitted, as by `time.monotonic`; `start_time` is when it left the queue and
            `deadline_time` when it must end, None for no limit.
        rows: its rows of the pool, while it runs.
        cached_tokens: tokens of its prompt that came from the prefix cache.
        sequences: those drawn token by token; a sequence sampler has none.
        tokens_spent: tokens drawn so far.
        scored_prompt: tokens of its prompt with their log-probabilities.
        continuation_logprobs: scores of its continuations, `further_logprobs` those after its further prompts;
            `hidden_state` is that after its prompt.
    """

    compiled: CompiledRequest
    stream: Any
    arrival_time: float
    deadline_time: float | None
    cancelled: bool = False
    finished: bool = False
    started: bool = False
    start_time: float = 0.0
    rows: PoolRows | None = None
    cached_tokens: int = 0
    sequences: list[SequenceState] = field(default_factory=list)
    tokens_spent: int = 0
    scored_prompt: Sequence[Token] = ()
    continuation_logprobs: Sequence[float] = ()
    further_logprobs: Sequence[Sequence[float]] = ()
    hidden_state: Sequence[float] = ()

    @cached_property
    def salt(self) -> bytes:
        """The salt of its prefixes, which keeps them apart from those of other tenants and other salts."""
        request = self.compiled.request
        return hashlib.sha256(json.dumps([request.tenant, request.salt]).encode()).digest()

    @property
    def all_sequences_finished(self) -> bool:
        """True once it has sequences and all of them are finished."""
        return bool(self.sequences) and all(sequence.is_finished for sequence in self.sequences)

    def is_late(self, now: float) -> bool:
        """Return whether its deadline has passed."""
        return self.deadline_time is not None and now >= self.deadline_time

    def free_rows(self) -> None:
        """Close its rows of the pool."""
        if self.rows is not None:
            self.rows.close_all()
            self.rows = None


class SequenceState:
    """A sequence of a request: its row of the pool, its text, and how many more tokens it may have."""

    __slots__ = ("choice", "detokenizer", "is_finished", "job", "row", "stop_token_ids", "tokens_left")

    def __init__(self, job: RequestState, row: int, choice: int) -> None:
        self.job, self.row, self.choice = job, row, choice
        compiled = job.compiled
        self.tokens_left = compiled.request.max_tokens
        self.stop_token_ids = frozenset(compiled.stop_token_ids)
        self.detokenizer = compiled.build_detokenizer()
        self.is_finished = False
