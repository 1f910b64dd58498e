"""What the page is told as it happens: a tick every second, and each request as it ends.

All of it is in memory, so that the page works while the storage is down.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from heatbath.engine.base import Grown
from heatbath.serve.base import Answered, Ticket
from heatbath.serve.page.live import Snapshot, tick
from heatbath.serve.page.rows import light, row

TICK = 1.0
RECENT = 300
"""Seconds that are kept of the ticks; as long after the last request or viewer the ticking stops."""

KEPT_TOKENS = 50_000
"""Tokens of the answers kept at most: each brings its record."""


@dataclass(frozen=True)
class Bounds:
    """How many viewers there may be, how many events may wait for one of them, how many answers are kept."""

    viewers: int = 32
    waiting: int = 64
    answers: int = 200


@dataclass(eq=False)
class Viewer:
    """Someone who looks on: the events that wait for it, and whether it was dropped for being too slow."""

    tenant: str
    queue: asyncio.Queue[bytes | None]
    dropped: bool = False


@dataclass
class _Kept:
    """The last answers, newest last, by tenant and id."""

    most: int
    answers: dict[tuple[str, str], Answered] = field(default_factory=dict)
    tokens: int = 0

    def add(self, answered: Answered) -> None:
        key = answered.ticket.tenant, answered.ticket.id
        self._drop(key)
        self.answers[key] = answered
        self.tokens += answered.completion_tokens
        while len(self.answers) > self.most or (self.tokens > KEPT_TOKENS and len(self.answers) > 1):
            self._drop(next(iter(self.answers)))

    def _drop(self, key: tuple[str, str]) -> None:
        old = self.answers.pop(key, None)
        self.tokens -= old.completion_tokens if old else 0


class Full(Exception):
    """There are as many viewers as there may be."""


class Feed:
    """A `Watcher`. `snapshot` says what is going on, as `heatbath.serve.metrics.Metrics.snapshot` does; `trouble` says
    in one sentence what is down; `content`, whether texts may be kept."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        *,
        trouble: Callable[[], str | None] = lambda: None,
        content: bool = True,
        bounds: Bounds | None = None,
    ) -> None:
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT)
        self._snapshot = snapshot
        self._trouble = trouble
        self._content = content
        self._bounds = bounds or Bounds()
        self._kept = _Kept(self._bounds.answers)
        self._viewers: set[Viewer] = set()
        self._totals = {"requests": 0, "tokens": 0, "errors": 0, "refused": 0}
        self._ticking: asyncio.Task[None] | None = None
        self._awake = 0.0

    def arrived(self, ticket: Ticket) -> None:
        self._wake()

    def grew(self, ticket: Ticket, grown: Grown) -> None:
        self._totals["tokens"] += len(grown.tokens)

    def ended(self, answered: Answered) -> None:
        self._totals["requests"] += 1
        self._totals["errors"] += answered.status >= 400 and answered.status != 499
        self._kept.add(light(answered, content=self._content))
        self._tell(_event("ended", row(answered)), answered.ticket.tenant)

    def refused(self, endpoint: str, code: str) -> None:
        self._totals["refused"] += 1

    def answers(self, tenant: str) -> list[Answered]:
        """The answers of a tenant that are kept here, newest first."""
        return [answered for (whose, _), answered in reversed(self._kept.answers.items()) if whose == tenant]

    def answer(self, id: str, tenant: str) -> Answered | None:
        """One of them; None if it is not kept here."""
        return self._kept.answers.get((tenant, id))

    def now(self) -> dict[str, Any]:
        """What a tick says."""
        return {**tick(self._snapshot(), time.time()), "totals": dict(self._totals), "trouble": self._trouble()}

    @contextmanager
    def watching(self, tenant: str) -> Iterator[Viewer]:
        """A viewer for as long as the block lasts.

        Raises:
            Full: there are too many already.
        """
        if len(self._viewers) >= self._bounds.viewers:
            raise Full
        viewer = Viewer(tenant, asyncio.Queue(self._bounds.waiting))
        self._viewers.add(viewer)
        self._wake()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    def _tell(self, event: bytes, tenant: str | None = None) -> None:
        for viewer in [one for one in self._viewers if tenant in (None, one.tenant)]:
            try:
                viewer.queue.put_nowait(event)
            except asyncio.QueueFull:
                self._drop(viewer)

    def _drop(self, viewer: Viewer) -> None:
        """Let go of a viewer that does not read: what waits for it is given up."""
        self._viewers.discard(viewer)
        viewer.dropped = True
        while not viewer.queue.empty():
            viewer.queue.get_nowait()
        viewer.queue.put_nowait(None)

    def _wake(self) -> None:
        self._awake = time.monotonic()
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        while self._viewers or time.monotonic() - self._awake < RECENT:
            now = self.now()
            self.recent.append({name: value for name, value in now.items() if name != "distributions"})
            self._tell(_event("tick", now))
            await asyncio.sleep(TICK)


async def events(viewer: Viewer) -> AsyncIterator[bytes]:
    """What a viewer is told, until it is dropped."""
    while (event := await viewer.queue.get()) is not None:
        yield event


def _event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
