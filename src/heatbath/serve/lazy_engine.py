"""An engine whose model is loaded by `start`, so that the port is open and health is reported meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

from heatbath.engine.base import Engine, EngineStats, Event, ModelInfo, Request, Unavailable

LOADING_MESSAGE = "the model is being loaded"


class LazyEngine:
    """The `Engine` that `build` returns, once it has; `build` runs in a thread of its own."""

    def __init__(self, build: Callable[[], Engine]) -> None:
        self._build = build
        self._loaded_engine: Engine | None = None

    @property
    def model_info(self) -> ModelInfo:
        return self._engine.model_info

    @property
    def stats(self) -> EngineStats:
        return EngineStats() if self._loaded_engine is None else self._loaded_engine.stats

    @property
    def unavailable_reason(self) -> str | None:
        return LOADING_MESSAGE if self._loaded_engine is None else self._loaded_engine.unavailable_reason

    async def start(self) -> None:
        """Load the model, then start. Raises what the model raises."""
        self._loaded_engine = self._loaded_engine or await self._load_engine()
        await self._loaded_engine.start()

    def submit(self, request: Request) -> AsyncIterator[Event]:
        """Return the events of a request; see `Engine.submit`."""
        return self._engine.submit(request)

    async def drain(self, seconds: float) -> None:
        """Drain the engine, if it has been loaded."""
        if self._loaded_engine is not None:
            await self._loaded_engine.drain(seconds)

    @property
    def _engine(self) -> Engine:
        if self._loaded_engine is None:
            raise Unavailable(f"{LOADING_MESSAGE}: try again in a few seconds.")
        return self._loaded_engine

    async def _load_engine(self) -> Engine:
        loop = asyncio.get_running_loop()
        made: asyncio.Future[Engine] = loop.create_future()

        def tell(settle: Callable[..., None], result: Engine | BaseException) -> None:
            if not made.done():  # the server may have stopped meanwhile
                settle(result)

        def work() -> None:
            try:
                engine = self._build()
            except BaseException as error:
                loop.call_soon_threadsafe(tell, made.set_exception, error)
            else:
                loop.call_soon_threadsafe(tell, made.set_result, engine)

        # A daemon thread, so that the process can end while the model is still being loaded.
        threading.Thread(target=work, name="heatbath-load", daemon=True).start()
        return await made
