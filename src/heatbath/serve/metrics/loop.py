"""What runs beside the requests while the server is up: the event loop's lag, the seconds, the minutes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import Histogram

from heatbath.serve.metrics.book import MinuteBook
from heatbath.serve.storage.minutes import History

LAG_EVERY = 0.25
FLUSH_EVERY = 10.0
LAST_FLUSH = 5.0
"""Seconds: between two looks at the lag, between two writes of the minutes, and for the last write at the end."""


async def lag(into: Histogram, *, every: float = LAG_EVERY) -> None:
    """Observe for ever how much later than asked a sleep ends: what every request waits before its handler runs."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every
        await asyncio.sleep(every)
        into.observe(max(loop.time() - due, 0.0))


async def seconds(*ticks: Callable[[], None]) -> None:
    """Call `ticks` once a second for ever."""
    while True:
        await asyncio.sleep(1.0)
        for tick in ticks:
            tick()


async def minutes(book: MinuteBook, history: History, *, every: float = FLUSH_EVERY) -> None:
    """Write the minutes every so often for ever; a storage that hangs holds up nothing else."""
    while True:
        await asyncio.sleep(every)
        try:
            await book.flush(history)
        except Exception:
            # Whatever is wrong with one write, the next may succeed: nothing of it is lost meanwhile.
            logging.getLogger(__name__).exception("the figures of the last minutes could not be stored")


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run all of `work` while the body runs, then cancel it and wait until it is gone."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def last_flush(book: MinuteBook, history: History) -> None:
    """Write the minutes once more, for a few seconds at most; where that fails the server ends all the same."""
    try:
        await asyncio.wait_for(book.flush(history), LAST_FLUSH)
    except Exception:
        logging.getLogger(__name__).exception("the figures of the last seconds could not be stored")
