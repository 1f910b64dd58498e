"""A request in work, and the answers that grow for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from heatbath.engine.base import Token
from heatbath.engine.local.plan import Plan
from heatbath.engine.tail import Tail


@dataclass(eq=False)
class Job:
    """A request on its way through the engine. `gone` is set by its stream, all else by the engine's thread.

    `rows` are those it holds in the pool, `spent` the tokens drawn for it; times are those of `time.monotonic`.
    """

    plan: Plan
    stream: Any
    arrived: float
    until: float | None
    prompt_length: int = 0
    gone: bool = False
    done: bool = False
    told: bool = False
    began: float = 0.0
    rows: set[int] = field(default_factory=set)
    answers: list[Answer] = field(default_factory=list)
    spent: int = 0
    scored: Sequence[Token] = ()

    @cached_property
    def salt(self) -> bytes:
        """What keeps its prefixes apart from those of other tenants and of other salts."""
        request = self.plan.request
        return hashlib.sha256(json.dumps([request.tenant, request.salt]).encode()).digest()


class Answer:
    """One answer of a job: the row it grows in, its text, and how many tokens it may still have."""

    __slots__ = ("choice", "ended", "job", "left", "row", "stop", "tail")

    def __init__(self, job: Job, row: int, choice: int) -> None:
        self.job, self.row, self.choice = job, row, choice
        self.left = job.plan.request.max_tokens
        self.stop = frozenset(job.plan.stop)
        self.tail = Tail(job.plan.stops, keep_stop=job.plan.request.keep_stop)
        self.ended = False
