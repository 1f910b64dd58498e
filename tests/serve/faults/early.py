"""A server that says an answer is stored before it is: `python tests/serve/faults/early.py '{"settings": {...}}'`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

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


if __name__ == "__main__":
    services = build(json.loads(sys.argv[1]))
    services = replace(services, store=Early(services.store))
    sys.exit(serve(services, lambda address: print(address, flush=True)))
