"""A request in work, and the answers that grow for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from heatbath.engine.base import Token
from heatbath.engine.local.plan import CompiledRequest
from heatbath.engine.stop_strings import IncrementalDetokenizer


@dataclass(eq=False)
class RequestState:
    """A request on its way through the engine. `gone` is set by its stream, all else by the engine's thread.

    `rows` are those it holds in the pool, `spent` the tokens drawn for it; times are those of `time.monotonic`.
    """

    compiled_request: CompiledRequest
    stream: Any
    arrival_time: float
    deadline_time: float | None
    prompt_length: int = 0
    is_cancelled: bool = False
    is_finished: bool = False
    has_started: bool = False
    start_time: float = 0.0
    rows: set[int] = field(default_factory=set)
    sequences: list[SequenceState] = field(default_factory=list)
    num_sampled_tokens: int = 0
    scored_prompt: Sequence[Token] = ()

    @cached_property
    def salt(self) -> bytes:
        """What keeps its prefixes apart from those of other tenants and of other salts."""
        request = self.compiled_request.request
        return hashlib.sha256(json.dumps([request.tenant, request.salt]).encode()).digest()


class SequenceState:
    """One answer of a job: the row it grows in, its text, and how many tokens it may still have."""

    __slots__ = ("choice", "detokenizer", "is_finished", "remaining_tokens", "request_state", "row", "stop_token_ids")

    def __init__(self, request_state: RequestState, row: int, choice: int) -> None:
        self.request_state, self.row, self.choice = request_state, row, choice
        self.remaining_tokens = request_state.compiled_request.request.max_tokens
        self.stop_token_ids = frozenset(request_state.compiled_request.stop_token_ids)
        self.detokenizer = IncrementalDetokenizer(
            request_state.compiled_request.stop_strings, keep_stop=request_state.compiled_request.request.keep_stop
        )
        self.is_finished = False
