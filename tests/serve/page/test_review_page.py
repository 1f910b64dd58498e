"""The reviewer's page and the card of the queue in a real browser."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pageserver
import pytest
from process import Running, running

from heatbath.policy.review import ReviewDecision

sys.path.insert(0, str(Path(__file__).parent.parent / "review"))

from reviewing import item, opened

expect: Any = pytest.importorskip("playwright.sync_api").expect

Visit = Callable[..., Any]
MARKUP = "<img src=x onerror=alert(1)>\nDouble the dose."


@dataclass
class Desk:
    """A server with a queue, and its database."""

    server: Running
    database: str

    def run(self, method: str, *arguments: Any) -> Any:
        """The result of a method of the queue, in a thread: the browser keeps a loop running in this one."""

        async def main() -> Any:
            async with opened(self.database) as queue:
                return await getattr(queue, method)(*arguments)

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, main()).result()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A server with a queue and without keys: the reviewer is called local."""
    database = f"sqlite:///{tmp_path_factory.mktemp('desk') / 'heatbath.db'}"
    settings = {"storage": {"url": database}, "review": {"enabled": True, "lock_seconds": 60.0}}
    with running(settings, main=pageserver.main) as started:
        yield Desk(started, database)


def test_a_reviewer_takes_and_decides(visit: Visit, desk: Desk) -> None:
    urgent = desk.run("submit", item("urgent", text=MARKUP, rules=("dose", "medical"), priority=9))
    other = desk.run("submit", item("other", text="Paris.", rules=(), probability=0.05, confidence=0.72))
    taken = desk.run("submit", item("taken"))
    desk.run("lock", taken, "bob")
    visited = visit(desk.server.url)
    page = visited.page
    page.locator("#review a").click()
    expect(page.locator(".items li")).to_have_count(3)
    first = page.locator(".items li").first
    expect(first).to_contain_text("dose, medical")
    first.locator("button").click()
    expect(page.locator("#item .text")).to_have_text(re.compile("<img src=x onerror=alert"))
    expect(page.locator("#item .rules li")).to_have_text(["dose", "medical"])
    expect(page.locator("#item .prompt pre")).to_have_text("prompt of urgent")
    expect(page.locator("#item .lock")).to_contain_text("yours for")
    assert desk.run("find", urgent).holder == "local"
    assert page.locator("[name=edit]").is_disabled()
    page.locator("[name=text]").fill("Ask a doctor.")
    page.locator("[name=reason]").fill("advice on doses")
    page.locator("[name=edit]").click()
    expect(page.locator(".items li")).to_have_count(2)
    decision = desk.run("find", urgent).decision
    assert (decision.action, decision.reviewer, decision.reason, decision.text) == (
        "edit", "local", "advice on doses", "Ask a doctor.",
    )  # fmt: skip
    page.locator(".items li", has_text="taken by bob").locator("button").click()
    expect(page.locator(".said")).to_contain_text("bob has this item now")
    assert all("409" in error for error in visited.errors)
    visited.errors.clear()
    page.locator(".items li", has_text="drawn at random").locator("button").click()
    expect(page.locator("#item .origin")).to_contain_text("confidence 72.0 % · sent with probability 5.00 %")
    page.locator("[name=back]").click()
    expect(page.locator("#item article")).to_be_hidden()
    assert desk.run("find", other).holder is None
    page.locator("label", has_text="decided").click()
    expect(page.locator(".items li")).to_have_count(1)
    page.locator(".items li button").click()
    expect(page.locator(".verdict-given p")).to_contain_text("edited by local")
    expect(page.locator(".verdict-given pre")).to_have_text("Ask a doctor.")
    expect(page.locator("#item form")).to_be_hidden()


def test_the_dashboard_has_a_card_of_the_queue(visit: Visit, desk: Desk, server: Running) -> None:
    for request in ("a", "b"):
        desk.run("decide", desk.run("submit", item(request)), ReviewDecision("reject", "ann", ""))
    desk.run("submit", item("c"))
    page = visit(desk.server.url).page
    expect(page.locator("#review .cards")).to_contain_text(re.compile(r"pending\d"))
    expect(page.locator("#review .cards")).to_contain_text("2 rejected")
    expect(visit(server.url).page.locator("#review")).to_be_hidden()
