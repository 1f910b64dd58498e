"""Tasks that run while the server is up: the lag of the event loop, ticks, and the storage of minutes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import Histogram

from heatbath.serve.storage.minutes import MinuteStore
from heatbath.serve.telemetry.minute_history import MinuteHistory

LAG_INTERVAL = 0.25
FLUSH_INTERVAL = 10.0
LAST_FLUSH_TIMEOUT = 5.0
"""Seconds between two measurements of the lag, between two writes of the minutes, and for the last write."""


async def measure_lag(histogram: Histogram, *, interval: float = LAG_INTERVAL) -> None:
    """Observe for ever how late a sleep ends: every request waits as long before its handler runs."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval
        await asyncio.sleep(interval)
        histogram.observe(max(loop.time() - due, 0.0))


async def call_every_second(*ticks: Callable[[], None]) -> None:
    """Call `ticks` once a second for ever."""
    while True:
        await asyncio.sleep(1.0)
        for tick in ticks:
            tick()


async def flush_periodically(
    minute_history: MinuteHistory, minute_store: MinuteStore, *, interval: float = FLUSH_INTERVAL
) -> None:
    """Write the minutes every `interval` seconds for ever; storage that hangs blocks nothing else."""
    while True:
        await asyncio.sleep(interval)
        try:
            await minute_history.flush(minute_store)
        except Exception:
            # Whatever is wrong with one write, the next may succeed: nothing of it is lost meanwhile.
            logging.getLogger(__name__).exception("the figures of the last minutes could not be stored")


@asynccontextmanager
async def run_in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run all of `work` while the block runs, then cancel it and wait until it has ended."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def flush_before_exit(minute_history: MinuteHistory, minute_store: MinuteStore) -> None:
    """Write the minutes once more, within a few seconds; a failure does not keep the server from stopping."""
    try:
        await asyncio.wait_for(minute_history.flush(minute_store), LAST_FLUSH_TIMEOUT)
    except Exception:
        logging.getLogger(__name__).exception("the figures of the last seconds could not be stored")
