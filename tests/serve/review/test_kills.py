"""Processes killed by SIGKILL, and several at once: what was acknowledged is there, and each item is decided once."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from process import start_process
from reviewing import decide_many, item, opened, until, work_for_ever

from heatbath.serve.review.stored_review import ReviewQuery, StoredReview


def _lines(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().split("\n")[:-1]] if log.exists() else []


async def _read_all(url: str) -> dict[str, StoredReview]:
    found: dict[str, StoredReview] = {}
    async with opened(url) as queue:
        for status in ("pending", "decided"):
            for each in await queue.list_reviews(ReviewQuery(status, limit=10**6)):
                assert each.item == item(each.item.request_id)
                assert each.item.request_id not in found
                found[each.item.request_id] = each
    return found


def _kill(url: str, round: int, folder: Path, *, hasty: bool = False) -> list[str]:
    """Kill a process at work; return what it acknowledged and the database lacks."""
    log = folder / f"acknowledged-{round}"
    process = start_process(work_for_ever, url, f"r{round}", log, hasty)
    until(lambda: len(_lines(log)) > 2)
    time.sleep(random.Random(round).uniform(0.0, 0.1))
    process.kill()
    process.join()
    found, missing = asyncio.run(_read_all(url)), []
    for kind, request, id in _lines(log):
        review = found.get(request)
        if (
            review is None
            or id not in ("-", review.id)
            or (kind == "decided" and (review.decision is None or review.decision.reviewer != f"r{round}"))
        ):
            missing.append(request)
    return missing


def test_a_killed_process_loses_nothing_it_acknowledged(url: str, tmp_path: Path) -> None:
    assert [_kill(url, round, tmp_path) for round in range(2)] == [[], []]


def test_a_queue_that_acknowledges_too_early_is_caught(tmp_path: Path) -> None:
    """The negative control."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    assert any(_kill(url, round, tmp_path, hasty=True) for round in range(5))


@pytest.mark.slow
def test_a_hundred_killed_processes_lose_nothing(url: str, tmp_path: Path) -> None:
    assert not any(_kill(url, round, tmp_path) for round in range(100))


def test_processes_that_decide_at_once_share_the_items(url: str, tmp_path: Path) -> None:
    async def fill() -> list[str]:
        async with opened(url) as queue:
            return list(await asyncio.gather(*(queue.submit(item(f"r{k}")) for k in range(40))))

    ids = asyncio.run(fill())
    files = {name: tmp_path / name for name in ("ann", "bob")}
    processes = [start_process(decide_many, url, name, ids, out) for name, out in files.items()]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    own = {name: out.read_text().split() for name, out in files.items()}
    assert Counter(id for mine in own.values() for id in mine) == Counter(ids)
    reviewers = {each.id: each.decision.reviewer for each in asyncio.run(_read_all(url)).values() if each.decision}
    assert reviewers == {id: name for name, mine in own.items() for id in mine}
