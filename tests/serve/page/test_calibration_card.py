"""The section on calibration in a real browser: state, reliability and distribution, as labels come in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pageserver
import pytest
from calibrators import write_calibrator
from pagecalls import ask, chat
from process import Running, running

expect: Any = pytest.importorskip("playwright.sync_api").expect

Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a calibrator for T = 1."""
    folder = tmp_path_factory.mktemp("calibrated")
    path = write_calibrator(folder / "calibrator.json", slope=1.0, intercept=4.0)
    settings = {"storage": {"url": f"sqlite:///{folder / 'heatbath.db'}"}, "trust": {"calibrator": str(path)}}
    with running(settings, main=pageserver.main) as started:
        yield started


def test_the_calibration_is_shown_until_it_fails(visit: Visit, calibrated: Running) -> None:
    page = visit(calibrated.url).page
    card = page.locator("#calibration")
    expect(card.locator(".cards")).to_contain_text("holds so far")
    expect(card.locator(".about")).to_contain_text("By logprob:mean, for temperature = 1")
    ids = [chat(calibrated, temperature=1.0, seed=seed).json["id"] for seed in range(60)]
    expect(card.locator(".cards")).to_contain_text("of 60 answers with a confidence")
    expect(card.locator(".histogram svg")).to_have_attribute(
        "aria-label", re.compile("Confidence of 60 answers, and of 97 of the calibration")
    )
    for i, id in enumerate(ids):
        assert ask(calibrated, "/v1/outcomes", {"id": id, "correct": i % 10 == 0}).status == 200
    chat(calibrated, temperature=0.5)
    expect(card.locator(".cards")).to_contain_text("does not hold")
    expect(card.locator(".cards")).to_contain_text("contradict their confidence")
    expect(card.locator(".cards")).to_contain_text("1 without one")
    expect(card.locator(".reliability circle")).not_to_have_count(0)
    expect(card.locator(".reliability svg")).to_have_attribute("aria-label", re.compile("right"))


def test_a_server_without_a_calibrator_has_no_section(visit: Visit, server: Running) -> None:
    page = visit(server.url).page
    expect(page.locator("#calibration")).to_be_hidden()
    expect(page.locator('nav a[href="#calibration"]')).to_be_hidden()
