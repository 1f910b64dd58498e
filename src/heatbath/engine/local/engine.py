"""The local engine: requests come from an event loop, events from the engine thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import cast

from heatbath.energy.grammar_guard import GrammarGuard
from heatbath.engine.base import EngineStats, Event, Finished, ModelInfo, Request, Unavailable
from heatbath.engine.local.config import EngineConfig
from heatbath.engine.local.planning import RequestPlanner
from heatbath.engine.local.request_compiler import CompiledRequest, RequestCompiler
from heatbath.engine.local.request_state import RequestState
from heatbath.engine.local.scheduler import Delivery, Scheduler
from heatbath.models.base import Model
from heatbath.models.pool.base import Pool
from heatbath.models.pool.open_pool import build_pool
from heatbath.record import Observer

_LOG = logging.getLogger("heatbath.engine")
_THREAD_DIED = "the engine's thread has died"


class EventQueue:
    """The events of one request on their way to its caller; used on the event loop alone."""

    def __init__(self) -> None:
        self._events: deque[Event | BaseException] = deque()
        self._arrival = asyncio.Event()

    def put(self, event: Event | BaseException) -> None:
        """Append an event, or the error that ends the request."""
        self._events.append(event)
        self._arrival.set()

    async def next(self) -> Event:
        """Return the next event. Raises the error that ended the request."""
        while not self._events:
            self._arrival.clear()
            await self._arrival.wait()
        event = self._events.popleft()
        if isinstance(event, BaseException):
            raise event
        return event


class LocalEngine:
    """An `Engine` that runs `model` in a thread of its own, many requests at once.

    `observers` get the frames of every step, in that thread. `pool_factory` builds the pool, by default one that suits
    the model; `guard` tries the grammars of requests, by default a new one. At its deadline a request keeps the tokens
    it has, its running sequences with finish reason "deadline"; a request without any, or with a sequence sampler,
    raises `DeadlineExceeded`. `drain` does the same at the end of its time, with "cancelled".
    """

    def __init__(
        self,
        model: Model,
        *,
        observers: Sequence[Observer] = (),
        config: EngineConfig | None = None,
        pool_factory: Callable[[], Pool] | None = None,
        guard: GrammarGuard | None = None,
    ) -> None:
        self.config = config or EngineConfig()
        self._model = model
        self._observers = tuple(observers)
        self._pool_factory = pool_factory or (lambda: build_pool(model, prefix_bytes=self.config.prefix_bytes))
        self._compiler = RequestCompiler(model, self.config, guard)
        self._unavailable_reason: str | None = "the engine has not been started"
        self._scheduler: Scheduler | None = None
        self._thread: threading.Thread | None = None
        self._planner: RequestPlanner | None = None
        self._streams: set[EventQueue] = set()
        self._is_stopping = False

    @property
    def model_info(self) -> ModelInfo:
        return self._model

    @property
    def stats(self) -> EngineStats:
        return EngineStats() if self._scheduler is None else self._scheduler.stats

    @property
    def unavailable_reason(self) -> str | None:
        return self._unavailable_reason

    async def start(self) -> None:
        """Start the thread and warm up. Raises what the model raises."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._loop = asyncio.get_running_loop()
        self._is_stopping = False
        ready = self._loop.create_future()
        self._planner = RequestPlanner(self._compiler)
        self._thread = threading.Thread(target=self._run_scheduler, args=(ready,), name="heatbath-engine", daemon=True)
        self._thread.start()
        await ready
        self._unavailable_reason = None
        try:
            if self.config.warm_up:
                await self._warm_up()
        except BaseException:
            self._unavailable_reason = "the engine failed to warm up"
            raise

    async def submit(self, request: Request) -> AsyncIterator[Event]:
        """Stream the events of a request; see `Engine.submit`."""
        scheduler = self._require_scheduler()
        arrival_time = time.monotonic()
        seconds = self.config.deadline if request.deadline is None else request.deadline
        scheduler.reserve()
        try:
            compiled = await self._compile_request(request, seconds)
            self._require_scheduler()
        except BaseException:
            scheduler.queue.release()
            raise
        stream = EventQueue()
        job = RequestState(compiled, stream, arrival_time, None if seconds is None else arrival_time + seconds)
        self._streams.add(stream)
        scheduler.submit(job)
        try:
            while True:
                event = await stream.next()
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            self._streams.discard(stream)
            job.cancelled = True
            scheduler.wake()

    async def drain(self, seconds: float) -> None:
        """Take no more requests, wait `seconds` at most for the running ones, then cancel the rest."""
        if self._unavailable_reason is None:
            self._unavailable_reason = "the engine is shutting down"
        if self._planner is not None:
            self._planner.stop()
        end = time.monotonic() + seconds
        while self._streams and time.monotonic() < end and self._is_alive():
            await asyncio.sleep(min(0.02, max(seconds, 0.0)))
        self._is_stopping = True
        if self._scheduler is not None:
            self._scheduler.wake()
        while self._is_alive():
            await asyncio.sleep(0.005)
        if self._planner is not None:
            self._planner.close()

    async def close(self) -> None:
        """Cancel all requests and end the thread."""
        await self.drain(0.0)

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _require_scheduler(self) -> Scheduler:
        if self._unavailable_reason is not None or self._scheduler is None:
            raise Unavailable(f"{self._unavailable_reason}: try again later.")
        return self._scheduler

    async def _compile_request(self, request: Request, seconds: float | None) -> CompiledRequest:
        """Compile a request, beside the event loop where that takes time."""
        if self._compiler.is_quick(request) or self._planner is None:
            return self._compiler(request)
        return await self._planner.plan(request, seconds)

    async def _warm_up(self) -> None:
        """Run a short request with one row and one with many, so that kernels are compiled and weights in memory."""
        assert self._planner is not None
        preparing = self._loop.create_task(self._planner.prepare())
        prompt = tuple(self._model.vocabulary.start_token_ids) or (0,)
        for n in (1, min(16, self.config.max_rows)):
            request = Request(prompt, "warm-up", n=n, max_tokens=2, ignore_eos=True, temperature=0.9)
            async for _ in self.submit(request):
                pass
        await preparing

    # In the engine's thread.

    def _run_scheduler(self, ready: asyncio.Future[None]) -> None:
        try:
            self._scheduler = Scheduler(
                self._model, self._pool_factory, self.config, observers=self._observers, deliver=self._deliver
            )
        except BaseException as error:
            self._loop.call_soon_threadsafe(ready.set_exception, error)
            return
        self._loop.call_soon_threadsafe(ready.set_result, None)
        try:
            while not self._is_stopping and not self._loop.is_closed():
                self._scheduler.run_once()
            self._scheduler.shut_down(Unavailable("the engine is shutting down: try again later."))
        except BaseException as error:
            _LOG.critical(_THREAD_DIED, exc_info=error)
            self._unavailable_reason = f"{_THREAD_DIED} ({type(error).__name__})"
        finally:
            self._call_on_loop(self._fail_streams)

    def _deliver(self, deliveries: list[Delivery]) -> None:
        self._call_on_loop(_put_events, deliveries)

    def _call_on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop is closed, so there are no callers left.
            self._is_stopping = True

    def _fail_streams(self) -> None:
        """End all streams with an error, since no more events will come."""
        for stream in tuple(self._streams):
            stream.put(Unavailable(f"{self._unavailable_reason or 'the engine has ended'}: try again later."))


def _put_events(deliveries: list[Delivery]) -> None:
    for stream, event in deliveries:
        cast(EventQueue, stream).put(event)
