"""A server killed under load at random moments: every answer that a client was told is stored is there, once."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import early
import pytest
from postgres import Postgres
from process import Main, Running, main, running
from talking import Heard, talking, until

Rows = Callable[[], list[str]]


def _settings(url: str) -> dict[str, dict[str, object]]:
    return {"storage": {"url": url}}


def _kill(url: str, times: int, rows: Rows, main: Main = main) -> Heard:
    """Kill so many servers and look after each; raises `AssertionError` for an answer that is lost, double or other."""
    rng, all_ = random.Random(times), Heard()
    heard = Heard()
    for turn in range(times + 1):
        with running(_settings(url), main=main, pace={"first": 0.002, "each": 0.001}) as server:
            _check(server, heard)
            all_.stored |= heard.stored
            if turn < times:
                with talking(server) as heard:
                    # A slow machine must not kill every server before its first answer; some moments are before it.
                    if turn % 4:
                        until(lambda: bool(heard.stored))
                    time.sleep(rng.uniform(0.0, 0.45))
                    server.kill()
    ids = [f"chatcmpl-{id}" for id in rows()]
    assert len(ids) == len(set(ids))
    assert all_.stored.keys() <= set(ids), f"lost: {sorted(all_.stored.keys() - set(ids))}"
    return all_


def _check(server: Running, heard: Heard) -> None:
    for id, text in heard.stored.items():
        status, found = server.get(f"/v1/chat/completions/{id}")
        assert status == 200, f"lost: {id}"
        assert (found["id"], found["choices"][0]["message"]["content"]) == (id, text)


def _sqlite(folder: Path) -> tuple[str, Rows]:
    file = folder / "answers.db"

    def rows() -> list[str]:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return [id for (id,) in connection.execute("SELECT id FROM answers")]

    return f"sqlite:///{file}", rows


def _postgres(postgres: Postgres, url: str) -> tuple[str, Rows]:
    database = url.split("@/")[1].partition("?")[0]
    return url, lambda: postgres.sql("SELECT id FROM answers", database).split()


def test_killed_servers_lose_nothing_on_sqlite(tmp_path: Path) -> None:
    assert len(_kill(_sqlite(tmp_path)[0], 3, _sqlite(tmp_path)[1]).stored) > 10


def test_killed_servers_lose_nothing_on_postgres(postgres: Postgres, postgres_url: str) -> None:
    url, rows = _postgres(postgres, postgres_url)
    assert len(_kill(url, 2, rows).stored) > 10


def test_a_server_that_acknowledges_too_early_is_caught(tmp_path: Path) -> None:
    url, rows = _sqlite(tmp_path)
    with pytest.raises(AssertionError, match="lost"):
        _kill(url, 2, rows, early.main)


@pytest.mark.slow
def test_two_hundred_killed_servers_lose_nothing_on_sqlite(tmp_path: Path) -> None:
    url, rows = _sqlite(tmp_path)
    assert len(_kill(url, 200, rows).stored) > 2000


@pytest.mark.slow
def test_forty_killed_servers_lose_nothing_on_postgres(postgres: Postgres, postgres_url: str) -> None:
    url, rows = _postgres(postgres, postgres_url)
    assert len(_kill(url, 40, rows).stored) > 400
