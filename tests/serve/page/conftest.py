"""A server process whose steps are real ensembles, and a browser that tells whatever it did not like."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from process import SOURCE, Running, running

sys.path.insert(0, str(Path(__file__).parent))

import pageserver


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server without keys, with a phase map."""
    folder = tmp_path_factory.mktemp("page")
    settings = {
        "storage": {"url": f"sqlite:///{folder / 'heatbath.db'}"},
        "server": {"keep_alive_seconds": 1.0},
        "model": {"phase_map": str(SOURCE / "heatbath" / "phases" / "maps" / "smollm2-135m.json")},
    }
    with running(settings, main=pageserver.main, pace={"each": 0.002}) as started:
        yield started


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's Chromium. It keeps an event loop running, in which no other module may want one of its own."""
    playwright = pytest.importorskip("playwright.sync_api")
    playwright.expect.set_options(timeout=20_000)
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page, and what happened while it was open."""

    page: Any
    errors: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Visit]]:
    """Opens pages; at the end none of them may have had an error, or asked another host."""
    contexts: list[Any] = []
    visits: list[tuple[str, Visit]] = []

    def opened(url: str, *, live: bool = True, **options: Any) -> Visit:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(30_000)
        contexts.append(context)
        made = Visit(context.new_page())
        made.page.on("console", lambda said: said.type in ("error", "warning") and made.errors.append(said.text))
        made.page.on("pageerror", lambda error: made.errors.append(str(error)))
        made.page.on("dialog", lambda dialog: (made.errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        made.page.on("request", lambda request: made.asked.append(request.url))
        visits.append((url, made))
        made.page.goto(url)
        if live:
            made.page.wait_for_selector("#lamp[data-kind=live]")
        return made

    yield opened
    for context in contexts:
        context.close()
    for url, made in visits:
        assert made.errors == []
        assert [asked for asked in made.asked if not asked.startswith(url)] == []
