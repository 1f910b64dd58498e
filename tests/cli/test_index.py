"""`heatbath index` from the command line: JSON, tables, filters, and one sentence for every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heatbath.cli.main import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "ice.md").write_text("---\nyear: 2024\n---\n# Ice\n\nWater freezes at zero.\n", encoding="utf-8")
    (docs / "steam.txt").write_text("Water boils at \x1b[31mhundred.\n", encoding="utf-8")
    (docs / "bad.txt").write_bytes(b"\x00")
    monkeypatch.chdir(tmp_path)
    assert main(["index", "add", "idx", "docs", "--embedding", "none"]) == 0
    return tmp_path


def run_json(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_of_every_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (report,) = run_json(["index", "add", "idx"], capsys)
    version = report["version"]
    reason = f"{folder}/docs/bad.txt holds binary data, not text: leave it out, or give the text of it."
    assert report == {
        "added": [],
        "changed": [],
        "unchanged": ["docs/ice.md", "docs/steam.txt"],
        "removed": [],
        "skipped": {f"{folder}/docs/bad.txt": reason},
        "passages": 2,
        "embedded": 0,
        "version": version,
    }
    rows = run_json(["index", "list", "idx"], capsys)
    assert [(row["path"], row["type"], row["passages"], row["metadata"]) for row in rows] == [
        ("docs/ice.md", "markdown", 1, {"year": 2024}),
        ("docs/steam.txt", "plain_text", 1, {}),
    ]
    (found,) = run_json(["index", "search", "idx", "freezing water", "-k", "1"], capsys)
    hit = found["hits"][0]
    assert {name: found[name] for name in ("version", "query", "mode")} == {
        "version": version,
        "query": "freezing water",
        "mode": "hybrid",
    }
    assert hit["passage"] == {
        "id": hit["passage"]["id"],
        "document": "docs/ice.md",
        "title": "Ice",
        "start": 19,
        "end": 48,
        "text": "# Ice\n\nWater freezes at zero.",
        "content_hash": rows[0]["content_hash"],
        "metadata": {"year": 2024, "path": "docs/ice.md", "type": "markdown"},
    }
    assert (hit["rank"], hit["bm25_rank"], hit["dense_rank"]) == (1, 1, None) and hit["score"] > 0
    (removed,) = run_json(["index", "remove", "idx", "docs/ice.md"], capsys)
    assert removed["removed"] == ["docs/ice.md"] and removed["passages"] == 1


def test_text_output_is_one_line_per_thing_without_control_characters(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "list", "idx"]) == main(["index", "search", "idx", "water"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "docs/steam.txt" in out and "2 documents" in out.replace("\n", " ")


@pytest.mark.parametrize(
    ("filters", "count"),
    [(["year=2024"], 1), (["year=2025"], 0), (["path=*.txt"], 1), (["type=markdown", "type=plain_text"], 2)],
)
def test_filters(folder: Path, filters: list[str], count: int, capsys: pytest.CaptureFixture[str]) -> None:
    options = [part for each in filters for part in ("--filter", each)]
    (found,) = run_json(["index", "search", "idx", "water", *options], capsys)
    assert len(found["hits"]) == count


def test_eval_prints_metrics_with_intervals(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"query": "freezes", "relevant": ["docs/ice.md"]}, {"query": "boils", "relevant": {"docs/steam.txt": 2}}]
    Path("q.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (found,) = run_json(["index", "eval", "idx", "q.jsonl", "-k", "2", "--mode", "bm25", "--mode", "hybrid"], capsys)
    assert found["queries"] == 2 and found["k"] == 2
    assert found["modes"]["bm25"]["mrr"]["value"] == 1 and 0 < found["modes"]["bm25"]["mrr"]["low"] < 1
    assert found["modes"]["hybrid"]["precision"]["value"] == 0.5
    assert found["differences"]["hybrid - bm25"]["ndcg"]["value"] == 0
    assert main(["index", "eval", "idx", "q.jsonl", "--mode", "bm25"]) == 0
    assert "ndcg@10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "idx", "nowhere"], "/nowhere: check the path"),
        (["add", "idx", "docs", "--tokens", "10"], "for good"),
        (["add", "new", "docs/bad.txt", "--embedding", "none"], "binary data"),
        (["add", "new", "docs", "--tokens", "0"], "`tokens` must be at least 1"),
        (["add", "docs", "docs"], "holds files that are no index"),
        (["remove", "idx", "docs/icy.md"], "did you mean 'docs/ice.md'"),
        (["list", "nowhere"], "nowhere is no index"),
        (["search", "nowhere", "x"], "nowhere is no index"),
        (["search", "idx", "x", "-k", "0"], "`k` must be an integer"),
        (["search", "idx", "x", "--mode", "magic"], "`mode` must be"),
        (["search", "idx", "x", "--mode", "dense"], "has no vectors"),
        (["search", "idx", "x", "--filter", "year"], "name=value"),
        (["eval", "idx", "docs/ice.md"], "not valid JSON"),
        (["eval", "idx", "unknown.jsonl"], "the index has no document 'x'"),
        (["eval", "idx", "grade.jsonl"], "`grade` above 0"),
    ],
)
def test_mistakes_get_one_sentence(
    folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("unknown.jsonl").write_text('{"query": "a", "relevant": ["x"]}', encoding="utf-8")
    Path("grade.jsonl").write_text('{"query": "a", "relevant": {"docs/ice.md": 0}}', encoding="utf-8")
    capsys.readouterr()
    assert main(["index", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == "" and words in output.err and len(output.err.strip().splitlines()) == 1
