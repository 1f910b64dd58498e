"""What the parts of the server hand one another: who asks, what is being answered, what was answered, who watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from heatbath.engine.base import TokensGenerated


@dataclass(frozen=True)
class Tenant:
    """Who asks, and what the key allows: scopes "infer" (the API) and "read" (stored answers, page, metrics)."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class RequestInfo:
    """A request that has been taken: `id` is its x-request-id, `started` is of `time.monotonic`, `created` of the
    calendar (Unix seconds). `settings` are what it asked for, ready for JSON."""

    id: str
    tenant: str
    endpoint: str
    model: str
    stream: bool
    started_at: float
    created_at: float
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RequestOutcome:
    """What became of a ticket, as it is stored. Times are seconds.

    `status` is the HTTP status, 499 where the client had gone; `error` its code. `summary` has for each choice the
    means of surprisal, entropy and heat capacity and the sums of log-probability (T = 1, T used) and work. `content`
    holds the messages or prompt and the answers; `records` for each choice its tokens (text, and columns of the
    record by name). Both are None where content is not to be kept.
    """

    request: RequestInfo
    status: int
    error: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    finish_reasons: Sequence[str] = ()
    queue_seconds: float | None = None
    first_token_seconds: float | None = None
    duration: float = 0.0
    seed: int | None = None
    summary: Sequence[Mapping[str, Any]] = ()
    content: Mapping[str, Any] | None = None
    records: Sequence[Mapping[str, Any]] | None = None


class RequestObserver(Protocol):
    """Looks on: metrics, page, traces. Called on the event loop; must not block and must not raise."""

    def on_start(self, request: RequestInfo) -> None:
        """A request has been taken."""

    def on_tokens(self, request: RequestInfo, event: TokensGenerated) -> None:
        """One of its answers grew."""

    def on_finish(self, outcome: RequestOutcome) -> None:
        """It is over, well or not; called once for every `arrived`."""

    def on_rejection(self, endpoint: str, code: str) -> None:
        """A request was turned away before it was taken."""


class StoreUnavailable(Exception):
    """The database cannot be written now; nothing was stored. The text is one sentence without paths or passwords."""


class Store(Protocol):
    """Where answers are kept."""

    @property
    def unavailable_reason(self) -> str | None:
        """One sentence on what is down, None if nothing is."""

    async def save(self, outcome: RequestOutcome) -> None:
        """Store durably: when it returns, a crash loses nothing. Twice the same id stores once. Raises `StoreDown`."""

    async def get(self, id: str, tenant: str | None) -> RequestOutcome | None:
        """A stored answer, by id; None where there is none of that tenant (None: any tenant's)."""

    async def list_recent(self, count: int, tenant: str | None) -> list[RequestOutcome]:
        """The newest stored answers, newest first."""
