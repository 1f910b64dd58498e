"""Answers to store, and processes that store them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heatbath.serve.interfaces import RequestInfo, RequestOutcome, StoreUnavailable
from heatbath.serve.storage import DatabaseUnusable, SqlStore, open_store


def answer(id: str = "a", tenant: str = "t", *, created: float | None = None, **others: Any) -> RequestOutcome:
    """An answer whose content follows from its id, so that a mixed-up or half-written one is seen."""
    digest = hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()
    ticket = RequestInfo(id, tenant, "/v1/completions", "m", False, 0.0, time.time() if created is None else created)
    plain = RequestOutcome(
        ticket,
        200,
        finish_reasons=("stop",),
        summary=[{"id": id}],
        content={"text": digest * 20},
        records=[{"tokens": list(digest), "entropy": [int(letter, 16) / 7 for letter in digest]}],
    )
    return replace(plain, **others)


def whole(found: RequestOutcome) -> bool:
    """Whether a stored answer is the one that `answer` made."""
    return found == answer(found.request.id, found.request.tenant, created=found.request.created_at)


@contextlib.asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[SqlStore]:
    """A store, closed after the block."""
    store = open_store(url, **options)
    try:
        yield store
    finally:
        await store.close()


class Hasty(SqlStore):
    """A store that is wrong: it acknowledges before anything is committed."""

    async def save(self, answered: RequestOutcome) -> None:
        task = asyncio.ensure_future(super().save(answered))
        task.add_done_callback(lambda done: done.exception())
        await asyncio.sleep(0)


def store_for_ever(url: str, prefix: str, acknowledged: Path, hasty: bool = False) -> None:
    """Store one answer after the other in eight tasks; the id of each goes to a file after it was acknowledged."""
    asyncio.run(_store_for_ever(url, prefix, acknowledged, hasty))


async def _store_for_ever(url: str, prefix: str, acknowledged: Path, hasty: bool) -> None:
    store = open_store(url)
    if hasty:
        store.__class__ = Hasty
    # One write call for each: what a killed process has written to a file stays.
    log = os.open(acknowledged, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    async def one(name: str) -> None:
        count = 0
        while True:
            id = f"{prefix}-{name}-{count}"
            count += 1
            try:
                await store.save(answer(id))
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                os.write(log, f"{id}\n".encode())

    await asyncio.gather(*(one(str(k)) for k in range(8)))


def store_many(url: str, prefix: str, count: int) -> None:
    """Store so many answers, four at a time; end with 1 if one could not be stored."""

    async def main() -> None:
        async with opened(url) as store:
            for start in range(0, count, 4):
                await asyncio.gather(*(store.save(answer(f"{prefix}-{start + k}")) for k in range(4)))

    asyncio.run(main())


async def newest(url: str, count: int = 10**6) -> list[RequestOutcome]:
    """What was stored last, newest first."""
    async with opened(url) as store:
        return await store.list_recent(count, None)


def discreet(text: str, *secrets: str) -> None:
    """One sentence, and none of those in it."""
    assert text.endswith(".") and ". " not in text
    assert not [
        secret for secret in ("/", "heatbath.db", "Traceback", "sqlite3", "psycopg", *secrets) if secret in text
    ]


async def refused(store: SqlStore, match: str, within: float = 8.0) -> None:
    """A refusal that comes in time and says why."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match=match) as caught:
        await store.save(answer(f"refused{time.monotonic()}"))
    assert time.monotonic() - started < within
    discreet(str(caught.value))


async def back(store: SqlStore) -> None:
    """Wait until nothing is wrong any more; it must take less than ten seconds."""
    until = time.monotonic() + 10.0
    while store.unavailable_reason is not None:
        assert time.monotonic() < until, store.unavailable_reason
        await asyncio.sleep(0.02)


def open_as_nobody(url: str, said: Path) -> None:
    """Open the store as a user without rights, and write what is said of it to `said`."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        open_store(url)
    except DatabaseUnusable as error:
        said.write_text(str(error))
