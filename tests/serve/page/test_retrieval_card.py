"""The section on documents in a real browser: searches, the support of claims, and the last citations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pageserver
import pytest
from levels import EVIL
from pagecalls import ask, chat
from process import Running, running

expect: Any = pytest.importorskip("playwright.sync_api").expect
pytest.importorskip("bm25s")

Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with an index of two documents, one of which looks like markup."""
    from heatbath.retrieval import IndexSettings, add_documents

    folder = tmp_path_factory.mktemp("searching")
    (folder / "docs").mkdir()
    (folder / "docs/heat.txt").write_text(f"A bath of heat holds its temperature. {EVIL}")
    (folder / "docs/cold.txt").write_text("What is cold has little heat in it, and that is that.")
    add_documents(folder / "index", [folder / "docs"], settings=IndexSettings(embedding="none"))
    settings = {
        "storage": {"url": f"sqlite:///{folder / 'heatbath.db'}"},
        "retrieval": {"indexes": {"docs": {"path": str(folder / "index")}}},
    }
    with running(settings, main=pageserver.main) as started:
        yield started


def test_searches_support_and_citations_are_shown(visit: Visit, searching: Running) -> None:
    page = visit(searching.url).page
    card = page.locator("#retrieval")
    expect(card.locator(".cards")).to_contain_text("of 0 searches")
    answer = chat(searching, thermo={"retrieval": {"mode": "bm25"}}).json
    claims = answer["choices"][0]["thermo"]["claims"]
    assert any(claim["supported"] for claim in claims)
    expect(card.locator(".cards")).to_contain_text("of 1 searches")
    expect(card.locator(".cards")).to_contain_text(re.compile(f"of {len(claims)} claims by 2(.0)? nats or more"))
    pairs = 2 * len(claims)
    expect(card.locator(".support svg")).to_have_attribute(
        "aria-label", f"Support of {pairs} pairs of a claim and a passage."
    )
    first = card.locator(".citations li").first
    expect(first).to_contain_text("supports")
    first.locator("summary").click()
    expect(first.locator(".passage")).to_contain_text("A bath of heat holds its temperature. <img")
    metrics = ask(searching, "/metrics").body.decode()
    assert "heatbath_retrieval_searches_total 1.0" in metrics
    assert f"heatbath_supported_claims_total {sum(claim['supported'] for claim in claims)}.0" in metrics


def test_a_server_without_indexes_has_no_section(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    expect(page.locator("#retrieval")).to_be_hidden()
    assert ask(server, "/page/retrieval").status == 404
