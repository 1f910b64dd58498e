"""`heatbath review` against a running server: list, show, take, decide, the loop, and the export."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from heatbath.cli.main import main
from heatbath.cli.review_labels import build_labels, estimate_reliability
from heatbath.engine.mock import MockEngine
from heatbath.serve.app import build_app
from heatbath.serve.review.queue import StoredReviewQueue
from heatbath.serve.services import build_services
from heatbath.serve.settings import Settings

sys.path.insert(0, str(Path(__file__).parent.parent / "serve" / "review"))
from reviewing import item, opened


class Desk:
    """A server with a queue in this process, and the command with its address."""

    def __init__(self, url: str, database: str) -> None:
        self.url, self.database = url, database

    def __call__(self, *arguments: object) -> int:
        return main(["review", *map(str, arguments), "--url", self.url])

    def submit(self, request: str, **others: Any) -> str:
        async def run() -> str:
            async with opened(self.database) as queue:
                return await queue.submit(item(request, **others))

        return asyncio.run(run())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    database = f"sqlite:///{tmp_path / 'a.db'}"
    settings = {
        "storage": {"url": database},
        "review": {"enabled": True, "random_share": 0.25},
        "model": {"name": "mock"},
    }
    services = build_services(Settings(**settings), engine=MockEngine())
    assert isinstance(services.review, StoredReviewQueue)
    server = uvicorn.Server(uvicorn.Config(build_app(services), port=0, log_config=None, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        threading.Event().wait(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Desk(f"http://127.0.0.1:{port}", database)
    server.should_exit = True
    thread.join(10)


def _lines(captured: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in captured.readouterr().out.splitlines()]


def test_from_the_list_to_the_decision(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    low, high = desk.submit("low", text="a\x1b[2J\nb" * 40), desk.submit("high", priority=5, rules=())
    assert desk("list", "--json") == 0
    assert [each["id"] for each in _lines(capsys)] == [high, low]
    assert desk("list", "--rule", "rule") == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and low in line and "free" in line and "\x1b" not in line and "…" in line
    assert desk("take", "--json") == 0
    assert _lines(capsys)[0]["id"] == high
    assert desk("take", low, "--seconds", 60) == 0
    shown = capsys.readouterr().out
    assert "prompt of low" in shown and "\x1b" not in shown and "taken by local" in shown
    assert desk("take") == 2
    assert "no item is free" in capsys.readouterr().err
    assert desk("decide", low, "edit", "--text", "new", "--reason", "short", "--json") == 0
    assert _lines(capsys)[0]["decision"]["text"] == "new"
    assert desk("decide", low, "approve") == 1
    assert "decided before, by local: edit" in capsys.readouterr().err
    assert desk("show", low) == 0 and "decided by local: edit, short\nnew" in capsys.readouterr().out
    assert desk("list", "--decided", "--json") == 0
    assert [each["id"] for each in _lines(capsys)] == [low]


def test_the_loop(desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(4):
        desk.submit(f"r{k}", priority=-k)
    answers = iter(["x", "s", "approve", "fine", "e", "new", "", "r", "bad"])
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    assert desk("run") == 0
    assert "3 decided" in capsys.readouterr().out and next(answers, None) is None
    assert desk("list", "--json") == 0
    assert [each["request"] for each in _lines(capsys)] == ["r0"]
    assert desk("list", "--decided", "--json") == 0
    assert [each["decision"]["action"] for each in _lines(capsys)] == ["reject", "edit", "approve"]


def test_the_export(desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    for k, (rules, probability) in enumerate([(("a",), 1.0), ((), 0.25), ((), 0.25)]):
        id = desk.submit(f"r{k}", rules=rules, probability=probability, confidence=0.5, calibrator="c")
        assert desk("decide", id, "reject" if rules else "approve") == 0
    capsys.readouterr()
    assert desk("export", "--out", out, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labels"] == 3 and found["accuracy"] is None and "effective samples" in found["sentences"][0]
    labels = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(each["request"], each["correct"], each["selection"]) for each in labels] == [
        ("r2", True, 0.25),
        ("r1", True, 0.25),
        ("r0", False, 1.0),
    ]
    assert desk("export", "--out", out) == 2 and "--force" in capsys.readouterr().err
    assert desk("export", "--out", tmp_path / "labels.txt") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["list", "--url", "http://127.0.0.1:9"], 1, "cannot be reached"),
        (["list", "--url", "127.0.0.1"], 2, "is no address of a server"),
        (["show", "rev_none"], 2, "there is no item 'rev_none'"),
        (["decide", "rev_none", "approve"], 2, "no item of this id"),
        (["decide", "rev_none", "allow"], 2, "action"),
    ],
)
def test_refusals(desk: Desk, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = arguments if "--url" in arguments else [*arguments, "--url", desk.url]
    assert main(["review", *given]) == code
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def _decided(count: int, action: str, *, probability: float, reviewer: str = "ann") -> list[dict[str, Any]]:
    decision = {"action": action, "reviewer": reviewer, "reason": "", "decided_at": 1.0}
    given = {name: None for name in ("id", "request", "choice", "model", "endpoint")}
    rules = ["a"] if probability == 1.0 else []
    return [{**given, "rules": rules, "confidence": 0.8, "probability": probability, "decision": decision}] * count


def test_items_that_nobody_decided_count_in_the_selection() -> None:
    """Of 200 answers drawn at random, half timed out; of those that a rule sent, none."""
    random = _decided(100, "approve", probability=0.1)
    timed_out = _decided(100, "reject", probability=0.1, reviewer="timeout")
    gated = _decided(500, "reject", probability=1.0)
    labels = build_labels([*random, *timed_out, *gated])
    assert len(labels) == 600 and {each["selection"] for each in labels} == {0.05, 1.0}
    found = estimate_reliability(labels)
    assert found["accuracy"]["value"] == pytest.approx(2000 / 2500)
    assert found["calibration_error"]["value"] == pytest.approx(0.0, abs=1e-9)
    assert len(found["sentences"]) == 2


def test_labels_of_rules_alone_are_said_to_be_so() -> None:
    found = estimate_reliability(build_labels(_decided(50, "approve", probability=1.0)))
    assert "of answers that rules sent, not of all" in found["sentences"][0]
    assert estimate_reliability([])["labels"] == 0
