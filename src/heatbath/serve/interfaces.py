"""Types and protocols that the packages of the server share: tenants, requests, outcomes, observers, stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from heatbath.engine.base import TokensGenerated


@dataclass(frozen=True)
class Tenant:
    """The owner of a key, and its scopes: "infer" (the API), "read" (stored outcomes, page, metrics), and "review"
    (held answers of all tenants). `key` is the name of the key.
    """

    name: str
    scopes: frozenset[str]
    key: str = ""


@dataclass(frozen=True)
class RequestInfo:
    """An accepted request.

    Attributes:
        id: unique, made by the server; the x-request-id is among the settings.
        endpoint: the path of its route.
        started_at: arrival, of `time.monotonic`.
        created_at: arrival, Unix seconds.
        settings: the options of the request, ready for JSON.
    """

    id: str
    tenant: str
    endpoint: str
    model: str
    stream: bool
    started_at: float
    created_at: float
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AnswerConfidence:
    """The measured confidence of a choice, as it is stored.

    Attributes:
        choice: the index of the choice in its response.
        value: the probability that it is right.
        calibrator: the digest of the calibrator that says so.
        is_withheld: the choice was not given, since the request required more.
        is_right: the label that came later, None without one.
        labeled_at: arrival of the first label, Unix seconds.
        weight: the stake of the label in tests of the calibration, in [0, 1]: less than 1 where its choice was picked
            for review with a higher probability than others.
    """

    choice: int
    value: float
    calibrator: str
    is_withheld: bool = False
    is_right: bool | None = None
    labeled_at: float | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class RequestOutcome:
    """The result of a request, as it is stored. Times are seconds.

    Attributes:
        status: the HTTP status, 499 where the client had disconnected; `error` is its code.
        summary: for each choice the means of surprisal, entropy and heat capacity, and the sums of log-probability
            (at T = 1, at the T used) and work.
        content: the messages or prompt, and the completions; None where content is not kept.
        records: for each choice its tokens (text, and columns of the record by name); None where content is not kept.
        confidences: of the choices whose confidence was measured; not read back from the store.
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
    confidences: Sequence[AnswerConfidence] = ()


class RequestObserver(Protocol):
    """Observes requests, for metrics, dashboard and traces. Called on the event loop; must neither block nor raise."""

    def on_start(self, request: RequestInfo) -> None:
        """Called when a request has been accepted."""

    def on_tokens(self, request: RequestInfo, event: TokensGenerated) -> None:
        """Called when one of its sequences has grown."""

    def on_finish(self, outcome: RequestOutcome) -> None:
        """Called once for every `on_start`, when the request has ended in any way."""

    def on_rejection(self, endpoint: str, code: str) -> None:
        """Called when a request was rejected before it was accepted."""


class StoreUnavailable(Exception):
    """The database cannot be written now; nothing was stored. The text is one sentence without paths or passwords."""


@dataclass(frozen=True)
class AnswerQuery:
    """A search among the outcomes of a tenant whose content is stored.

    Attributes:
        endpoint: the path of their route.
        limit: the most to return.
        after: the id of the outcome before the first one to return, None for the start.
        ascending: oldest first.
        model: the name of their model, None for any.
        metadata: values that their metadata must have, by key.
    """

    tenant: str
    endpoint: str
    limit: int
    after: str | None = None
    ascending: bool = True
    model: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class Store(Protocol):
    """A store of outcomes."""

    @property
    def unavailable_reason(self) -> str | None:
        """One sentence on why it cannot be written, None if it can."""

    async def save(self, outcome: RequestOutcome) -> None:
        """Store durably: when it returns, a crash loses nothing. The same id twice stores once.

        Raises:
            StoreUnavailable: nothing was stored.
        """

    async def get(self, id: str, tenant: str | None) -> RequestOutcome | None:
        """Return a stored outcome; None if the tenant has none of that id (tenant None: any tenant)."""

    async def list_recent(self, count: int, tenant: str | None) -> list[RequestOutcome]:
        """Return the newest stored outcomes, newest first."""

    async def list_answers(self, query: AnswerQuery) -> list[RequestOutcome]:
        """Return the outcomes that `query` asks for. Raises `StoreUnavailable`."""

    async def update_metadata(self, id: str, tenant: str, metadata: Mapping[str, str]) -> bool:
        """Replace the metadata of an outcome durably; False if the tenant has stored no content of that id.

        Raises:
            StoreUnavailable: nothing was changed.
        """

    async def delete_content(self, id: str, tenant: str) -> bool:
        """Delete content, records, metadata and settings of an outcome durably; its figures stay until they expire.

        Returns False if the tenant has stored no content of that id.

        Raises:
            StoreUnavailable: nothing was deleted.
        """

    async def label_choice(self, id: str, tenant: str, choice: int, *, is_right: bool) -> AnswerConfidence | None:
        """Store durably whether a choice is right, in place of an earlier label; return the choice as it was before.

        None if the tenant has stored no confidence of that choice; one that was withheld takes no label.

        Raises:
            StoreUnavailable: nothing was stored.
        """

    async def list_confidences(self, calibrator: str, limit: int) -> list[tuple[str, AnswerConfidence]]:
        """Return the newest confidences by a calibrator with the ids of their answers, oldest first.

        Raises:
            StoreUnavailable: they cannot be read.
        """
