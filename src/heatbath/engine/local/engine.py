"""The engine of this process: requests from an event loop, steps from the engine's thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from heatbath.engine.base import Ended, Language, Load, Request, Step, Unavailable
from heatbath.engine.local.core import Core, Told
from heatbath.engine.local.job import Job
from heatbath.engine.local.options import Options
from heatbath.engine.local.plan import Plan, Planner
from heatbath.models.base import Model
from heatbath.models.pool import Pool, pool_of
from heatbath.record import Observer

_LOG = logging.getLogger("heatbath.engine")
_MAKERS = 2
_BROKEN = "the engine's thread has died"


class Stream:
    """The steps of one request on their way to whoever asked; lives on the event loop."""

    def __init__(self) -> None:
        self._steps: deque[Step | BaseException] = deque()
        self._came = asyncio.Event()

    def put(self, step: Step | BaseException) -> None:
        """One more step, or what ends it."""
        self._steps.append(step)
        self._came.set()

    async def next(self) -> Step:
        """The next step. Raises what ended the request."""
        while not self._steps:
            self._came.clear()
            await self._came.wait()
        step = self._steps.popleft()
        if isinstance(step, BaseException):
            raise step
        return step


class LocalEngine:
    """Runs `model` in a thread of its own and answers many requests at once: an `Engine`.

    `observers` get the frames of every step in that thread. `pools` makes the pool, the model's own unless given.
    A request that has run out of time keeps the tokens it has, each open answer with finish "deadline"; one without
    any, or of a sampler of whole answers, raises `DeadlineExceeded`. A drain that runs out does alike ("cancelled").
    """

    def __init__(
        self,
        model: Model,
        *,
        observers: Sequence[Observer] = (),
        options: Options | None = None,
        pools: Callable[[], Pool] | None = None,
    ) -> None:
        self.options = options or Options()
        self._model = model
        self._observers = tuple(observers)
        self._pools = pools or (lambda: pool_of(model, prefix_bytes=self.options.prefix_bytes))
        self._planner = Planner(model, self.options)
        self._trouble: str | None = "the engine has not been started"
        self._core: Core | None = None
        self._thread: threading.Thread | None = None
        self._makers: ThreadPoolExecutor | None = None
        self._streams: set[Stream] = set()
        self._stopping = False

    @property
    def language(self) -> Language:
        return self._model

    @property
    def load(self) -> Load:
        return Load() if self._core is None else self._core.load

    @property
    def trouble(self) -> str | None:
        return self._trouble

    async def start(self) -> None:
        """Start the thread and warm up. Raises what the model raises."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        ready = self._loop.create_future()
        self._makers = ThreadPoolExecutor(_MAKERS, thread_name_prefix="heatbath-maker")
        self._thread = threading.Thread(target=self._run, args=(ready,), name="heatbath-engine", daemon=True)
        self._thread.start()
        await ready
        self._trouble = None
        try:
            if self.options.warm_up:
                await self._warm_up()
        except BaseException:
            self._trouble = "the engine failed to warm up"
            raise

    async def submit(self, request: Request) -> AsyncIterator[Step]:
        """The steps of a request; see `Engine.submit`."""
        core = self._ready()
        arrived = time.monotonic()
        core.reserve()
        try:
            plan = await self._planned(request)
            self._ready()
        except BaseException:
            core.queue.leave()
            raise
        stream = Stream()
        seconds = self.options.deadline if request.deadline is None else request.deadline
        job = Job(plan, stream, arrived, None if seconds is None else arrived + seconds)
        self._streams.add(stream)
        core.submit(job)
        try:
            while True:
                step = await stream.next()
                yield step
                if isinstance(step, Ended):
                    return
        finally:
            self._streams.discard(stream)
            job.gone = True
            core.wake()

    async def drain(self, seconds: float) -> None:
        """Take no more work and wait until what runs has ended, `seconds` at most; then give up the rest."""
        if self._trouble is None:
            self._trouble = "the engine is shutting down"
        end = time.monotonic() + seconds
        while self._streams and time.monotonic() < end and self._alive():
            await asyncio.sleep(min(0.02, max(seconds, 0.0)))
        self._stopping = True
        if self._core is not None:
            self._core.wake()
        while self._alive():
            await asyncio.sleep(0.005)
        if self._makers is not None:
            self._makers.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        """Give up everything and end the thread."""
        await self.drain(0.0)

    def _alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _ready(self) -> Core:
        if self._trouble is not None or self._core is None:
            raise Unavailable(f"{self._trouble}: try again later.")
        return self._core

    async def _planned(self, request: Request) -> Plan:
        """The plan, made off the loop where it takes time."""
        if self._planner.quick(request) or self._makers is None:
            return self._planner(request)
        return await self._loop.run_in_executor(self._makers, self._planner, request)

    async def _warm_up(self) -> None:
        """A short generation alone and one of many rows, so that kernels are compiled and weights are in memory."""
        preparing = self._loop.run_in_executor(self._makers, self._planner.prepare)
        prompt = tuple(self._model.vocabulary.start) or (0,)
        for n in (1, min(16, self.options.max_rows)):
            request = Request(prompt, "warm-up", n=n, max_tokens=2, ignore_stop=True, temperature=0.9)
            async for _ in self.submit(request):
                pass
        await preparing

    # In the engine's thread.

    def _run(self, ready: asyncio.Future[None]) -> None:
        try:
            self._core = Core(self._model, self._pools, self.options, observers=self._observers, deliver=self._deliver)
        except BaseException as error:
            self._loop.call_soon_threadsafe(ready.set_exception, error)
            return
        self._loop.call_soon_threadsafe(ready.set_result, None)
        try:
            while not self._stopping and not self._loop.is_closed():
                self._core.turn()
            self._core.end(Unavailable("the engine is shutting down: try again later."))
        except BaseException as error:
            _LOG.critical(_BROKEN, exc_info=error)
            self._trouble = f"{_BROKEN} ({type(error).__name__})"
        finally:
            self._call(self._bury)

    def _deliver(self, told: list[Told]) -> None:
        self._call(_put, told)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop is closed: nobody listens any more.
            self._stopping = True

    def _bury(self) -> None:
        """Nothing more will come: no stream may wait for it."""
        for stream in tuple(self._streams):
            stream.put(Unavailable(f"{self._trouble or 'the engine has ended'}: try again later."))


def _put(told: list[Told]) -> None:
    for stream, step in told:
        cast(Stream, stream).put(step)
