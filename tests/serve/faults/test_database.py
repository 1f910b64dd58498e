"""A database that goes away under load, and comes back; two servers on one; a disk without room."""

from __future__ import annotations

import resource
from pathlib import Path

from bad import error_of
from postgres import Postgres
from process import Running, running
from talking import talking, until

PACE = {"first": 0.002, "each": 0.001}
ASKED = {"model": "mock", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}


def _storage(server: Running) -> str:
    said: str = server.get("/health/ready")[1]["storage"]
    return said


def _rows(postgres: Postgres, url: str) -> list[str]:
    """Ids of all stored answers."""
    rows = postgres.sql("SELECT id FROM answers", url.split("@/")[1].partition("?")[0])
    return [f"chatcmpl-{row}" for row in rows.split()]


def test_answers_go_on_while_the_database_is_down_and_are_kept_again_after(
    postgres: Postgres, postgres_url: str
) -> None:
    with running({"storage": {"url": postgres_url}}, pace=PACE) as server, talking(server) as heard:
        until(lambda: len(heard.stored) > 20)
        with postgres.stopped("immediate"):
            before = len(heard.loose)
            until(lambda: len(heard.loose) > before + 20)
            assert _storage(server) != "ok"
            response = server.ask("POST", "/v1/chat/completions", {**ASKED, "store": True})
            error = error_of(response.status, response.read())
            assert response.status == 503 and response.headers["retry-after"]
            assert error["type"] == "server_error"
        again = len(heard.stored)
        until(lambda: len(heard.stored) > again + 20)
        until(lambda: _storage(server) == "ok")
    assert set(heard.statuses) == {200} and not heard.broken
    ids = set(_rows(postgres, postgres_url))
    assert heard.stored.keys() <= ids
    # What was said not to be stored may have been, where the answer of the database was lost with it; not most of it.
    assert len(ids & heard.loose.keys()) <= 8


def test_a_server_that_must_store_gives_nothing_while_the_database_is_down(
    postgres: Postgres, postgres_url: str
) -> None:
    with running({"storage": {"url": postgres_url, "required": True}}, pace=PACE) as server:
        assert server.get("/health/ready")[0] == 200
        with postgres.stopped("immediate"):
            response = server.ask("POST", "/v1/chat/completions", ASKED)
            error_of(response.status, response.read())
            assert response.status == 503
            status, said = server.get("/health/ready")
            assert status == 503 and "storage" in said["down"]
        until(lambda: server.get("/health/ready")[0] == 200)
        assert server.ask("POST", "/v1/chat/completions", ASKED).status == 200


def test_two_servers_on_one_database_lose_and_double_nothing(postgres: Postgres, postgres_url: str) -> None:
    settings = {"storage": {"url": postgres_url}}
    with running(settings, pace=PACE) as one, running(settings, pace=PACE) as other:
        with talking(one) as first, talking(other) as second:
            until(lambda: min(len(first.stored), len(second.stored)) > 40)
            one.kill()
            reached = len(second.stored)
            until(lambda: len(second.stored) > reached + 40)
        ids = _rows(postgres, postgres_url)
        assert len(ids) == len(set(ids))
        assert first.stored.keys() | second.stored.keys() <= set(ids)
        assert not first.stored.keys() & second.stored.keys()
        # What one server stored, the other gives.
        id, text = next(iter(first.stored.items()))
        status, found = other.get(f"/v1/chat/completions/{id}")
        assert status == 200 and found["choices"][0]["message"]["content"] == text
    assert not second.broken


def test_a_disk_without_room_is_told_and_got_over(tmp_path: Path) -> None:
    file = tmp_path / "answers.db"
    with running({"storage": {"url": f"sqlite:///{file}"}}, pace=PACE) as server, talking(server) as heard:
        until(lambda: len(heard.stored) > 20)
        before = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        # No file of the server may grow beyond what this one has.
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (file.stat().st_size, before[1]))
        reached = len(heard.loose)
        until(lambda: len(heard.loose) > reached + 20)
        assert _storage(server) != "ok"
        assert str(tmp_path) not in _storage(server)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, before)
        again = len(heard.stored)
        until(lambda: len(heard.stored) > again + 20)
        assert server.alive
        for id, text in list(heard.stored.items()):
            status, found = server.get(f"/v1/chat/completions/{id}")
            assert status == 200 and found["choices"][0]["message"]["content"] == text
    assert set(heard.statuses) == {200} and not heard.broken
