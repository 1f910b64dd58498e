"""Processes and servers killed at random points: what was acknowledged is there, once and whole."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Postgres
from process import start_process
from stored import newest, store_for_ever, whole


def _ids(log: Path) -> list[str]:
    return log.read_text().split("\n")[:-1] if log.exists() else []


def _more(log: Path, count: int) -> None:
    """Wait until that many are acknowledged."""
    until = time.monotonic() + 30
    while len(_ids(log)) < count:
        assert time.monotonic() < until, "nothing is stored"
        time.sleep(0.002)


@contextlib.contextmanager
def _storing(url: str, prefix: str, log: Path, *, hasty: bool = False) -> Iterator[None]:
    """A process that stores until the block ends, and is then killed."""
    process = start_process(store_for_ever, url, prefix, log, hasty)
    try:
        _more(log, 1)
        yield
    finally:
        process.kill()
        process.join()
        process.close()


def _missing(url: str, acknowledged: list[str], among: int = 10**6) -> set[str]:
    """Ids that are not among the newest; those must be there once and whole, and a file must be sound."""
    found = asyncio.run(newest(url, among))
    assert max(Counter(each.request.id for each in found).values(), default=1) == 1
    assert all(map(whole, found))
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return set(acknowledged) - {each.request.id for each in found}


def _kill(url: str, times: int, folder: Path) -> int:
    """Kill that many processes and look after each; how many answers were acknowledged."""
    rng = random.Random(times)
    for round in range(times):
        log = folder / f"acknowledged-{round}"
        with _storing(url, f"r{round}", log):
            time.sleep(rng.uniform(0.0, 0.12))
        assert not _missing(url, _ids(log), among=len(_ids(log)) + 100)
    acknowledged = [id for round in range(times) for id in _ids(folder / f"acknowledged-{round}")]
    assert not _missing(url, acknowledged)
    return len(acknowledged)


def test_a_killed_process_loses_nothing_it_acknowledged(url: str, tmp_path: Path) -> None:
    assert _kill(url, 4, tmp_path) > 4


@pytest.mark.slow
def test_two_hundred_killed_processes_lose_nothing(url: str, tmp_path: Path) -> None:
    assert _kill(url, 200, tmp_path) > 200


def test_a_store_that_acknowledges_too_early_is_caught(url: str, tmp_path: Path) -> None:
    """The negative control: the same test on a store that is wrong."""
    lost = set[str]()
    for round in range(5):
        log = tmp_path / f"acknowledged-{round}"
        with _storing(url, f"r{round}", log, hasty=True):
            time.sleep(0.05)
        lost |= _missing(url, _ids(log))
        if lost:
            return
    raise AssertionError("a store that acknowledges before it commits lost nothing")


def _crash(postgres: Postgres, url: str, times: int, folder: Path) -> None:
    log, rng = folder / "acknowledged", random.Random(times)
    with _storing(url, "a", log):
        for _ in range(times):
            time.sleep(rng.uniform(0.0, 0.2))
            with postgres.stopped("immediate"):
                stored = len(_ids(log))
            _more(log, stored + 20)
    assert not _missing(url, _ids(log))


def test_a_crashed_server_loses_nothing_acknowledged(postgres: Postgres, postgres_url: str, tmp_path: Path) -> None:
    _crash(postgres, postgres_url, 2, tmp_path)


@pytest.mark.slow
def test_a_server_that_crashes_thirty_times(postgres: Postgres, postgres_url: str, tmp_path: Path) -> None:
    _crash(postgres, postgres_url, 30, tmp_path)
