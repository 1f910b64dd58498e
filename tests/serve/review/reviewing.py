"""Items to review, queues over databases, and processes that submit and decide."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatbath.policy.review import ReviewDecision, ReviewItem
from heatbath.serve.interfaces import StoreUnavailable
from heatbath.serve.review.queue import StoredReviewQueue
from heatbath.serve.settings import ReviewSettings
from heatbath.serve.storage import SqlStore, open_store

SECRET = "the held text"
NOW = 1.8e9


def chat_payload(text: str = SECRET, n: int = 1, request: str = "r") -> dict[str, Any]:
    """A held chat completion."""
    choices = [
        {
            "index": k,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
        for k in range(n)
    ]
    return {"id": f"chatcmpl-{request}", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}


def item(request: str = "r", **others: Any) -> ReviewItem:
    """An item whose text follows from its request, so that a mixed-up or half-written one is seen."""
    text = hashlib.sha256(request.encode()).hexdigest() * 5
    given: dict[str, Any] = {
        "tenant": "t",
        "endpoint": "/v1/chat/completions",
        "model": "m",
        "request_id": request,
        "choice": 0,
        "text": text,
        "rules": ("rule",),
        "priority": 0,
        "probability": 1.0,
        "payload": chat_payload(text, request=request),
        "prompt": f"prompt of {request}",
    }
    return ReviewItem(**{**given, **others})


@dataclass
class Hands:
    """The clock of the machine and that since its start, moved by hand."""

    wall: float = NOW
    monotonic: float = 0.0

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    @property
    def options(self) -> dict[str, Callable[[], float]]:
        return {"clock": lambda: self.wall, "monotonic": lambda: self.monotonic}


@contextlib.asynccontextmanager
async def opened(url: str, *, store: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[StoredReviewQueue]:
    """A queue with these settings over a store with those options."""
    async with opened_store(url, **(store or {})) as opened_:
        yield StoredReviewQueue(opened_, ReviewSettings(enabled=True, **settings), random.Random(1))


@contextlib.asynccontextmanager
async def opened_store(url: str, **options: Any) -> AsyncIterator[SqlStore]:
    store = open_store(url, **options)
    try:
        yield store
    finally:
        await store.close()


def work_for_ever(url: str, prefix: str, log: Path, hasty: bool = False) -> None:
    """Submit items and decide every other one, four tasks at once; what was acknowledged goes to a file.

    `hasty` is a queue that is wrong: it acknowledges before anything is committed.
    """
    asyncio.run(_work_for_ever(url, prefix, log, hasty))


async def _work_for_ever(url: str, prefix: str, log: Path, hasty: bool) -> None:
    store = open_store(url)
    queue = StoredReviewQueue(store, ReviewSettings(enabled=True))
    # One write call for each: what a killed process has written to a file stays.
    lines = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    async def submit(request: str) -> None:
        id = await queue.submit(item(request))
        os.write(lines, f"submitted {request} {id}\n".encode())
        if int(request.rpartition("-")[2]) % 2:
            await queue.decide(id, ReviewDecision("reject", prefix, request))
            os.write(lines, f"decided {request} {id}\n".encode())

    async def one(name: str) -> None:
        count = 0
        while True:
            request = f"{prefix}-{name}-{count}"
            count += 1
            if hasty:
                task = asyncio.create_task(queue.submit(item(request)))
                task.add_done_callback(lambda done: done.exception())
                os.write(lines, f"submitted {request} -\n".encode())
                await asyncio.sleep(0)
                continue
            try:
                await submit(request)
            except StoreUnavailable:
                await asyncio.sleep(0.02)

    await asyncio.gather(*(one(str(k)) for k in range(4)))


def decide_many(url: str, reviewer: str, ids: list[str], out: Path) -> None:
    """Try to decide all items in an order of its own, and write which decisions were one's own."""

    async def main() -> None:
        async with opened(url) as queue:
            shuffled = random.Random(reviewer).sample(ids, len(ids))
            decision = ReviewDecision("reject", reviewer, "")
            changes = await asyncio.gather(*(queue.decide(id, decision) for id in shuffled))
            own = [id for id, change in zip(shuffled, changes, strict=True) if change and change.has_succeeded]
            out.write_text("\n".join(own))

    asyncio.run(main())


def until(what: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)
