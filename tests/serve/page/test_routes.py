"""The feeds: who may read what, and what survives a restart of the process."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pageserver
import pytest
from pagecalls import ask, chat
from process import Running, running

KEYS = {"anna": ["infer", "read"], "bert": ["infer", "read"], "cleo": ["infer"]}
SECRET = {name: f"hb-{name}-0123456789" for name in KEYS}


def settings(folder: Path) -> dict[str, Any]:
    keys = {
        name: {"sha256": hashlib.sha256(SECRET[name].encode()).hexdigest(), "scopes": scopes}
        for name, scopes in KEYS.items()
    }
    return {"storage": {"url": f"sqlite:///{folder / 'heatbath.db'}"}, "keys": keys}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keyed")


@pytest.fixture(scope="module")
def keyed(folder: Path) -> Iterator[Running]:
    with running(settings(folder), main=pageserver.main, pace={"each": 0.002}) as started:
        for name in ("anna", "bert"):
            assert chat(started, key=SECRET[name]).status == 200
        yield started


def read(server: Running, path: str, name: str = "anna") -> Any:
    got = ask(server, path, authorization=f"Bearer {SECRET[name]}")
    assert got.status == 200, got.body
    return got.json


PATHS = ("/page/state", "/page/feed", "/page/history", "/page/requests", "/page/requests/x")


@pytest.mark.parametrize("path", PATHS)
def test_the_feeds_need_a_key_that_may_read(keyed: Running, path: str) -> None:
    assert ask(keyed, path).status == 401
    assert ask(keyed, path, authorization="Bearer hb-nobody").status == 401
    assert ask(keyed, path, authorization=f"Bearer {SECRET['cleo']}").status == 403


def test_the_shell_needs_none(keyed: Running) -> None:
    assert ask(keyed, "/").status == ask(keyed, "/static/main.js").status == 200


def test_a_tenant_sees_its_own_requests_only(keyed: Running) -> None:
    mine, theirs = (read(keyed, "/page/requests", name)["requests"] for name in ("anna", "bert"))
    assert len(mine) == len(theirs) == 1 and mine[0]["id"] != theirs[0]["id"]
    assert read(keyed, f"/page/requests/{mine[0]['id']}")["content"]["asked"][0]["text"] == "Heat?"
    for name, id in (("bert", mine[0]["id"]), ("anna", theirs[0]["id"]), ("anna", "../../etc/passwd")):
        got = ask(keyed, f"/page/requests/{id}", authorization=f"Bearer {SECRET[name]}")
        assert got.status == 404
        assert set(got.json["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "1e9", "x", "745", ""])
def test_hours_that_make_no_sense_are_refused(keyed: Running, hours: str) -> None:
    got = ask(keyed, f"/page/history?hours={hours}", authorization=f"Bearer {SECRET['anna']}")
    assert got.status == 400 and got.json["error"]["param"] == "hours"


def enter(page: Any, name: str) -> None:
    page.fill("#key input", SECRET.get(name, name))
    page.keyboard.press("Enter")


def test_the_page_asks_for_a_key_once_and_keeps_it_in_the_tab(visit: Callable[..., Any], keyed: Running) -> None:
    made = visit(keyed.url, live=False)
    page = made.page
    page.wait_for_selector("#key[open]")
    enter(page, "hb-wrong")
    page.get_by_text("does not know this key").wait_for()
    enter(page, "cleo")
    page.get_by_text("does not have the scope 'read'").wait_for()
    enter(page, "anna")
    page.wait_for_selector("#lamp[data-kind=live]")
    assert page.locator(".requests > li").count() == 1
    page.reload()
    page.wait_for_selector("#lamp[data-kind=live]")
    assert not page.locator("#key").is_visible()
    kept = page.evaluate("[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]")
    assert kept == [json.dumps({"heatbath.key": SECRET["anna"]}, separators=(",", ":")), "{}", ""]
    assert not any("hb-" in url for url in made.asked)
    made.errors[:] = [error for error in made.errors if not re.search("40[13]", error)]


def test_history_and_requests_survive_a_restart(visit: Callable[..., Any], keyed: Running, folder: Path) -> None:
    id = read(keyed, "/page/requests")["requests"][0]["id"]
    before = read(keyed, f"/page/requests/{id}")
    keyed.signal(signal.SIGTERM)
    assert keyed.wait() == 0
    with running(settings(folder), main=pageserver.main) as again:
        found = read(again, "/page/history?hours=1")
        assert found["stored"] and sum(found["requests"]) * 60 == pytest.approx(2)
        assert sum(found["distributions"]["mock"]["entropy"]["counts"]) == 16
        assert [row["id"] for row in read(again, "/page/requests")["requests"]] == [id]
        after = read(again, f"/page/requests/{id}")
        assert after["content"] == before["content"]
        assert after["records"][0]["text"] == before["records"][0]["text"]
        assert after["records"][0]["entropy"] == pytest.approx(before["records"][0]["entropy"])
        made = visit(again.url, live=False)
        made.page.wait_for_selector("#key[open]")
        enter(made.page, "anna")
        made.page.wait_for_selector("#lamp[data-kind=live]")
        made.page.locator("#traffic .ranges").get_by_text("7 days").click()
        made.page.get_by_text("Means of the stored minutes").wait_for()
        made.page.get_by_text("last day: mean").first.wait_for()
        made.page.locator(".requests > li > button").click()
        made.page.locator(".opened .token").nth(7).wait_for()
        made.errors[:] = [error for error in made.errors if "401" not in error]
        made.page.close()  # before its feed breaks off


def test_the_feed_goes_on_for_longer_than_a_connection_may_be_idle(server: Running) -> None:
    ticks: list[Any] = []
    with socket.create_connection((server.host, server.port), timeout=10) as line:
        line.sendall(b"GET /page/feed HTTP/1.1\r\nHost: localhost\r\n\r\n")
        end, got = time.monotonic() + 3.3, b""
        while time.monotonic() < end:
            got += line.recv(65536)
        assert got.startswith(b"HTTP/1.1 200") and b"text/event-stream" in got
        ticks = [json.loads(part.split(b"\n")[0]) for part in got.split(b"event: tick\ndata: ")[1:-1]]
    assert len(ticks) >= 3
    assert all(later["t"] > earlier["t"] for earlier, later in pairwise(ticks))
