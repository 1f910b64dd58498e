"""A request in work, and the sequences that grow for it."""

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
from heatbath.engine.stop_strings import IncrementalDetokenizer


@dataclass(eq=False)
class RequestState:
    """A request on its way through the engine. `gone` is set by its stream, all else by the engine's thread.

    `rows` are those it holds in the pool, `spent` the tokens drawn for it, `cached` those of its prompt that needed no
    reading; times are those of `time.monotonic`.
    """

    plan: CompiledRequest
    stream: Any
    arrived: float
    until: float | None
    gone: bool = False
    done: bool = False
    told: bool = False
    began: float = 0.0
    rows: PoolRows | None = None
    cached: int = 0
    answers: list[SequenceState] = field(default_factory=list)
    spent: int = 0
    scored: Sequence[Token] = ()

    @cached_property
    def salt(self) -> bytes:
        """What keeps its prefixes apart from those of other tenants and of other salts."""
        request = self.plan.request
        return hashlib.sha256(json.dumps([request.tenant, request.salt]).encode()).digest()

    def is_late(self, now: float) -> bool:
        """Whether its time is over."""
        return self.until is not None and now >= self.until

    def free_rows(self) -> None:
        """Give back what it holds in the pool."""
        if self.rows is not None:
            self.rows.close_all()
            self.rows = None


class SequenceState:
    """One sequence of a request: the row it grows in, its text, and how many tokens it may still have."""

    __slots__ = ("choice", "ended", "job", "left", "row", "stop", "tail")

    def __init__(self, job: RequestState, row: int, choice: int) -> None:
        self.job, self.row, self.choice = job, row, choice
        self.left = job.plan.request.max_tokens
        self.stop = frozenset(job.plan.stop)
        self.tail = IncrementalDetokenizer(job.plan.stops, keep_stop=job.plan.request.keep_stop)
        self.ended = False
