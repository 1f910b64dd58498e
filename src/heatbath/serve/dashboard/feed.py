"""Live events of the page: a tick every second, and each request as it ends.

All of it is in memory, so that the page works while the storage is down.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from heatbath.engine.base import TokensGenerated
from heatbath.serve.dashboard.serializers import NODES_PREFIX, select_scalars, summarize_outcome
from heatbath.serve.dashboard.tick import Snapshot, build_tick
from heatbath.serve.interfaces import RequestInfo, RequestOutcome

TICK_SECONDS = 1.0
RECENT_SECONDS = 300
"""Seconds of ticks that are kept; ticking stops as long after the last request or viewer."""

MAX_KEPT_TOKENS = 50_000
"""Most tokens of all kept requests, since each has a record."""


@dataclass(frozen=True)
class FeedLimits:
    """Most viewers, most events queued for one viewer, and most requests kept in memory."""

    max_viewers: int = 32
    max_queued_events: int = 64
    max_outcomes: int = 200


@dataclass(eq=False)
class Viewer:
    """An open page: its queue of events, and whether it was dropped for reading too slowly."""

    tenant: str
    queue: asyncio.Queue[bytes | None]
    is_dropped: bool = False


@dataclass
class _RecentOutcomes:
    """The last outcomes, newest last, by tenant and id."""

    max_outcomes: int
    outcomes: dict[tuple[str, str], RequestOutcome] = field(default_factory=dict)
    num_tokens: int = 0

    def add(self, outcome: RequestOutcome) -> None:
        key = outcome.request.tenant, outcome.request.id
        if key in self.outcomes:
            self._drop(key)
        self.outcomes[key] = _without_nodes(outcome)
        self.num_tokens += outcome.completion_tokens
        while len(self.outcomes) > self.max_outcomes or (self.num_tokens > MAX_KEPT_TOKENS and len(self.outcomes) > 1):
            self._drop(next(iter(self.outcomes)))

    def _drop(self, key: tuple[str, str]) -> None:
        self.num_tokens -= self.outcomes.pop(key).completion_tokens


def _without_nodes(outcome: RequestOutcome) -> RequestOutcome:
    """Return the outcome without the nodes of its records, which take much memory."""
    records = outcome.records or ()
    for columns in records:
        for name in columns:
            if name.startswith(NODES_PREFIX):
                return replace(outcome, records=[select_scalars(each) for each in records])
    return outcome


class TooManyViewers(Exception):
    """The limit on viewers has been reached."""


class Feed:
    """A `RequestObserver` that sends events to viewers.

    Args:
        snapshot: returns the current figures, as `heatbath.serve.telemetry.Metrics.snapshot` does.
        find_problem: returns one sentence on a part that is unavailable, None if there is none.
        keep_content: whether texts may be kept in memory.
        limits: sizes; see `FeedLimits`.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        *,
        find_problem: Callable[[], str | None] = lambda: None,
        keep_content: bool = True,
        limits: FeedLimits | None = None,
    ) -> None:
        self.recent_ticks: deque[dict[str, Any]] = deque(maxlen=RECENT_SECONDS)
        self._snapshot = snapshot
        self._find_problem = find_problem
        self._keep_content = keep_content
        self._limits = limits or FeedLimits()
        self._recent_outcomes = _RecentOutcomes(self._limits.max_outcomes)
        self._viewers: set[Viewer] = set()
        self._tick_task: asyncio.Task[None] | None = None
        self._last_activity = 0.0

    def on_start(self, request: RequestInfo) -> None:
        self._start_ticking()

    def on_tokens(self, request: RequestInfo, event: TokensGenerated) -> None:
        """Do nothing: the snapshot counts tokens."""

    def on_finish(self, outcome: RequestOutcome) -> None:
        self._recent_outcomes.add(outcome if self._keep_content else replace(outcome, content=None, records=None))
        if self._viewers:
            self._send_event(_encode_event("ended", summarize_outcome(outcome)), outcome.request.tenant)

    def on_rejection(self, endpoint: str, code: str) -> None:
        """Do nothing: the snapshot counts rejections."""

    def list_outcomes(self, tenant: str) -> list[RequestOutcome]:
        """Return the outcomes of a tenant that are in memory, newest first."""
        return [
            answered for (whose, _), answered in reversed(self._recent_outcomes.outcomes.items()) if whose == tenant
        ]

    def find_outcome(self, id: str, tenant: str) -> RequestOutcome | None:
        """Return an outcome that is in memory, else None."""
        return self._recent_outcomes.outcomes.get((tenant, id))

    def current_tick(self) -> dict[str, Any]:
        """Return the content of a tick."""
        snapshot = self._snapshot()
        return {
            **build_tick(snapshot, time.time()),
            "totals": snapshot["totals"],
            "trouble": self._find_problem(),
        }

    @contextmanager
    def connect_viewer(self, tenant: str) -> Iterator[Viewer]:
        """Connect a viewer for as long as the block lasts.

        Raises:
            TooManyViewers: the limit has been reached.
        """
        if len(self._viewers) >= self._limits.max_viewers:
            raise TooManyViewers
        viewer = Viewer(tenant, asyncio.Queue(self._limits.max_queued_events))
        self._viewers.add(viewer)
        self._start_ticking()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    def _send_event(self, event: bytes, tenant: str | None = None) -> None:
        for viewer in [one for one in self._viewers if tenant in (None, one.tenant)]:
            try:
                viewer.queue.put_nowait(event)
            except asyncio.QueueFull:
                self._drop_viewer(viewer)

    def _drop_viewer(self, viewer: Viewer) -> None:
        """Disconnect a viewer that does not read, and discard its queue."""
        self._viewers.discard(viewer)
        viewer.is_dropped = True
        while not viewer.queue.empty():
            viewer.queue.get_nowait()
        viewer.queue.put_nowait(None)

    def _start_ticking(self) -> None:
        self._last_activity = time.monotonic()
        if self._tick_task is None or self._tick_task.done():
            self._tick_task = asyncio.get_running_loop().create_task(self._run_ticks())

    async def _run_ticks(self) -> None:
        while self._viewers or time.monotonic() - self._last_activity < RECENT_SECONDS:
            now = self.current_tick()
            self.recent_ticks.append({name: value for name, value in now.items() if name != "distributions"})
            self._send_event(_encode_event("tick", now))
            await asyncio.sleep(TICK_SECONDS)


async def stream_events(viewer: Viewer) -> AsyncIterator[bytes]:
    """Yield the events of a viewer until it is dropped."""
    while (event := await viewer.queue.get()) is not None:
        yield event


def _encode_event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
