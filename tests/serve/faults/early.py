"""A server that says an answer is stored before it is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from process import build

from heatbath.serve.interfaces import RequestOutcome
from heatbath.serve.server import serve

_SECONDS = 0.05


class Early:
    """A store whose `keep` returns at once and stores a moment later."""

    def __init__(self, store: Any) -> None:
        self._store, self._tasks = store, set[asyncio.Task[None]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def save(self, answered: RequestOutcome) -> None:
        task = asyncio.create_task(self._later(answered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _later(self, answered: RequestOutcome) -> None:
        await asyncio.sleep(_SECONDS)
        await self._store.save(answered)


def main(given: dict[str, Any]) -> int:
    services = build(given)
    services = replace(services, store=Early(services.store))
    return serve(services, lambda address: print(address, flush=True))
