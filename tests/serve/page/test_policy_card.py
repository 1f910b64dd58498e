"""The section on the policy in a real browser: rules, what was done with choices, and a file with a mistake."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pageserver
import pytest
from pagecalls import chat
from process import Running, running

expect: Any = pytest.importorskip("playwright.sync_api").expect

Visit = Callable[..., Any]

RULES = """
rules:
  - {id: foxes, match: {phrases: [fox]}, effect: deny, severity: high}
  - {id: warned, scope: [input], match: {phrases: [careful]}, effect: warn}
  - {id: mild, match: {phrases: [dog]}, effect: {energy: 1.0}}
"""


@pytest.fixture(scope="module")
def governed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    """A server with a policy, and the file of it."""
    folder = tmp_path_factory.mktemp("governed")
    path = folder / "policy.yaml"
    path.write_text(RULES)
    settings = {"storage": {"url": f"sqlite:///{folder / 'heatbath.db'}"}, "policy": {"file": str(path)}}
    with running(settings, main=pageserver.main) as started:
        yield started, path


def test_rules_and_choices_are_shown(visit: Visit, governed: tuple[Running, Path]) -> None:
    server, path = governed
    page = visit(server.url).page
    card = page.locator("#policy")
    expect(card.locator("tbody tr")).to_have_count(3)
    expect(card.locator("tbody tr").first).to_contain_text("foxes")
    expect(card.locator(".about")).to_contain_text("Choices are held until their verdict")
    for _ in range(3):
        assert chat(server).status == 200
    expect(card.locator(".cards")).to_contain_text(re.compile("of 3 choices"))
    path.write_text("rules: [{id: foxes}]")
    expect(card.locator(".cards")).to_contain_text("policy.yaml:1", timeout=15_000)


def test_a_server_without_a_policy_has_no_section(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    expect(page.locator("#policy")).to_be_hidden()
    expect(page.locator('nav a[href="#policy"]')).to_be_hidden()
