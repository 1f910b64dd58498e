"""One request on its way: let in, watched, driven through the engine, stored, and ended exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast

from heatbath.engine.base import Event, Request, TokensGenerated
from heatbath.serve.api.gathered import Answer, Gathered
from heatbath.serve.api.logprobs import Speller
from heatbath.serve.api.summaries import columns, summary
from heatbath.serve.errors import as_api_error
from heatbath.serve.interfaces import RequestInfo, RequestOutcome, StoreUnavailable
from heatbath.serve.rate_limits import Lease
from heatbath.serve.services import Services

GONE = 499
Take = Callable[[int, Event], None]


@dataclass(frozen=True)
class Order:
    """What one HTTP request asks of the engine.

    Attributes:
        requests: one for each prompt, with `n` answers each to be given.
        content: whether messages and answers may be kept.
        must: whether an answer that cannot be stored is not given.
        keep: whether it is stored at all.
    """

    ticket: RequestInfo
    requests: Sequence[Request]
    n: int = 1
    content: bool = True
    must: bool = False
    keep: bool = True


@dataclass
class Times:
    """When things happened, of `time.monotonic`."""

    asked: float = 0.0
    first: float | None = None
    done: float = 0.0


@dataclass
class Exchange:
    """Drives an order. It ends once: with `settle`, or with the task that it was told to `follow`."""

    services: Services
    order: Order
    lease: Lease
    gathered: list[Gathered] = field(default_factory=list)
    times: Times = field(default_factory=Times)
    over: bool = False

    def __post_init__(self) -> None:
        for watcher in self.services.observers:
            watcher.on_start(self.order.ticket)

    def follow(self, task: asyncio.Future[Any]) -> None:
        """End with `task`, whatever becomes of it, unless it ended before."""
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Future[Any]) -> None:
        if not self.over:
            self.end(*self._failure(None if task.cancelled() else task.exception()))

    async def run(self, take: Take | None = None) -> list[Gathered]:
        """Ask the engine; every step of prompt i goes to `take(i, step)` as it comes.

        Raises:
            ApiError, HeatbathError: what the engine raises.
        """
        self.gathered = [Gathered(request.prompt) for request in self.order.requests]
        self.times.asked = time.monotonic()
        requests = self.order.requests
        try:
            if len(requests) == 1:
                await self._drive(0, take)
            else:
                await self._all(take)
        finally:
            self.times.done = time.monotonic()
        return self.gathered

    async def _all(self, take: Take | None) -> None:
        """As many at once as the engine has rows for, so that one request does not fill its queue."""
        rows = max(request.n for request in self.order.requests)
        room = asyncio.Semaphore(max(1, self.services.settings.engine.max_rows // rows))

        async def drive(i: int) -> None:
            async with room:
                await self._drive(i, take)

        try:
            async with asyncio.TaskGroup() as tasks:
                for i in range(len(self.order.requests)):
                    tasks.create_task(drive(i))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _drive(self, i: int, take: Take | None) -> None:
        gathered = self.gathered[i]
        steps = cast("AsyncGenerator[Event, None]", self.services.engine.submit(self.order.requests[i]))
        async with aclosing(steps):
            async for step in steps:
                gathered.take(step)
                if isinstance(step, TokensGenerated):
                    self._grew(i, step)
                if take is not None:
                    take(i, step)

    def _grew(self, i: int, grown: TokensGenerated) -> None:
        if self.times.first is None and grown.tokens:
            self.times.first = time.monotonic()
        if i:
            grown = replace(grown, choice=i * self.order.requests[i].n + grown.choice)
        for watcher in self.services.observers:
            watcher.on_tokens(self.order.ticket, grown)

    async def settle(
        self, given: Sequence[Answer], content: Mapping[str, Any], *, prompt_tokens: int | None = None
    ) -> bool | None:
        """Store the answers that are given, and end. Whether they are stored; None if they were not to be.

        `prompt_tokens` counts what another model read.

        Raises:
            StoreDown: they are not stored and had to be.
        """
        answered = self._answered(given, content)
        if prompt_tokens is not None:
            answered = replace(answered, prompt_tokens=prompt_tokens)
        stored: bool | None = None
        if self.order.keep:
            try:
                await self.services.store.save(answered)
                stored = True
            except StoreUnavailable:
                if self.order.must:
                    raise
                stored = False
        self._over(answered)
        return stored

    @property
    def overhead(self) -> float:
        """Seconds so far that were not spent in the engine."""
        now = time.monotonic()
        before = (self.times.asked or now) - self.order.ticket.started_at
        return before + (now - self.times.done if self.times.done else 0.0)

    def end(self, status: int, code: str | None) -> None:
        """End without an answer."""
        self._over(replace(self._answered([], {}), status=status, error=code, content=None, records=None))

    def _over(self, answered: RequestOutcome) -> None:
        self.over = True
        self.lease.release(answered.prompt_tokens + answered.completion_tokens)
        for watcher in self.services.observers:
            watcher.on_finish(answered)

    def _failure(self, error: BaseException | None) -> tuple[int, str | None]:
        if error is None:
            return (503, "unavailable") if self.services.lifecycle.is_draining else (GONE, "client_gone")
        known = as_api_error(error)
        return known.status, known.code

    def _answered(self, given: Sequence[Answer], content: Mapping[str, Any]) -> RequestOutcome:
        began = next((each.began for each in self.gathered if each.began is not None), None)
        speller = Speller(self.services.engine.model_info) if self.order.content else None
        started = self.order.ticket.started_at
        return RequestOutcome(
            request=self.order.ticket,
            status=200,
            prompt_tokens=sum(len(each.prompt) for each in self.gathered),
            cached_tokens=sum(each.cached for each in self.gathered),
            completion_tokens=sum(each.spent for each in self.gathered),
            finish_reasons=[answer.finish or "" for answer in given],
            queue_seconds=None if began is None else began.queue_seconds,
            first_token_seconds=None if self.times.first is None else self.times.first - started,
            duration=time.monotonic() - started,
            seed=None if began is None else began.seed,
            summary=[summary(answer.tokens) for answer in given],
            content=content if self.order.content else None,
            records=None if speller is None else [columns(answer.tokens, speller) for answer in given],
        )
