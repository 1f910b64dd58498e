"""An engine whose model loads when it starts, so that the port is open and health is told meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

from heatbath.engine.base import Engine, Language, Load, Request, Step, Unavailable

LOADING = "the model is being loaded"


class Late:
    """The `Engine` that `make` returns, once it has; `make` runs in a thread of its own."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._make = make
        self._made: Engine | None = None

    @property
    def language(self) -> Language:
        return self._engine.language

    @property
    def load(self) -> Load:
        return Load() if self._made is None else self._made.load

    @property
    def trouble(self) -> str | None:
        return LOADING if self._made is None else self._made.trouble

    async def start(self) -> None:
        """Load, then start. Raises what the model raises."""
        self._made = self._made or await self._loaded()
        await self._made.start()

    def submit(self, request: Request) -> AsyncIterator[Step]:
        """The steps of a request; see `Engine.submit`."""
        return self._engine.submit(request)

    async def drain(self, seconds: float) -> None:
        """As the engine does; nothing before there is one."""
        if self._made is not None:
            await self._made.drain(seconds)

    @property
    def _engine(self) -> Engine:
        if self._made is None:
            raise Unavailable(f"{LOADING}: try again in a few seconds.")
        return self._made

    async def _loaded(self) -> Engine:
        loop = asyncio.get_running_loop()
        made: asyncio.Future[Engine] = loop.create_future()

        def tell(settle: Callable[..., None], result: Engine | BaseException) -> None:
            if not made.done():  # the server may have ended meanwhile
                settle(result)

        def work() -> None:
            try:
                engine = self._make()
            except BaseException as error:
                loop.call_soon_threadsafe(tell, made.set_exception, error)
            else:
                loop.call_soon_threadsafe(tell, made.set_result, engine)

        # A thread that does not hold up the end: nobody waits for a model that nothing will ask.
        threading.Thread(target=work, name="heatbath-load", daemon=True).start()
        return await made
