"""`heatbath measure` on an exact model: what it prints, what it writes, what it refuses, and going on after a stop."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from heatbath.cli.main import main
from heatbath.engine import measure
from heatbath.errors import BadInput
from heatbath.models import UrnModel
from heatbath.record import Trace, TraceWriter, read_traces

URN = UrnModel(1.0)
TEXT = "+-++-+--"


@pytest.fixture(autouse=True)
def urn(monkeypatch: pytest.MonkeyPatch) -> None:
    import heatbath.models

    def load(name: str, *, dtype: object = None, device: object = None) -> UrnModel:
        if name != "urn":
            raise BadInput(f"there is no model {name}.")
        return URN

    monkeypatch.setattr(heatbath.models, "load", load, raising=False)


def call(*arguments: object) -> int:
    return main(["measure", "--model", "urn", *map(str, arguments)])


GOLDEN = {
    "position": 2,
    "token_id": 1,
    "text": "+",
    "logprob": -0.693147,
    "energy": 0.0,
    "logprob_at_temperature": -0.693147,
    "log_z": 0.693147,
    "mean_energy": 0.0,
    "variance": 0.0,
    "entropy": 0.693147,
    "heat_capacity": 0.0,
    "ground": 0.0,
    "p_max": 0.5,
    "rank": 1,
    "temperature": 1.0,
}


def test_json_is_one_object_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--json", "--text", TEXT) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == list(TEXT)
    assert rows[0] == {**dict.fromkeys(GOLDEN), "position": 0, "token_id": 1, "text": "+"}
    assert list(rows[2]) == list(GOLDEN)
    assert {k: round(v, 6) if isinstance(v, float) else v for k, v in rows[2].items()} == GOLDEN
    assert "8 tokens at T = 1" in err


def test_json_lines_in_and_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "+-"}\n\n{"text": "--+", "other": 1}\n')
    assert call("--json", "--jsonl", path) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["sequence"], row["position"]) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


def test_stdin_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("+-+")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"--")))
    assert call("--json", path, "-") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "".join(row["text"] for row in rows) == "+-+--"


def test_strip_shows_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--text", TEXT) == 0
    out, err = capsys.readouterr()
    assert out == TEXT + "\n"
    assert re.search(r"surprisal 0\.\d+ nats", err)


def test_trace_is_written_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--text", TEXT, "--out", tmp_path / "t.parquet", "--temperature", 0.7) == 0
    assert capsys.readouterr().out == ""
    assert Trace.load(tmp_path / "t.parquet").to_table().equals(measure(URN, TEXT, temperature=0.7).to_table())
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


class Stop:
    """Stands in for `measure_stream`: Ctrl-C, or a full disk, after some pieces."""

    def __init__(self, real: Callable[..., Any], after: int, error: BaseException) -> None:
        self.real, self.after, self.error = real, after, error

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        for i, piece in enumerate(self.real(*arguments, **options)):
            if i == self.after:
                raise self.error
            yield piece


@pytest.mark.parametrize("group", [1, 40, 16_384])
def test_a_stopped_run_goes_on_to_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], group: int
) -> None:
    import heatbath.engine
    import heatbath.record.parquet_writer

    path, out = tmp_path / "in.jsonl", tmp_path / "t.parquet"
    path.write_text("".join(json.dumps({"text": TEXT * (i + 1)}) + "\n" for i in range(6)))
    assert call("--jsonl", path, "--out", tmp_path / "whole.parquet", "--context", 16) == 0
    monkeypatch.setattr(heatbath.record.parquet_writer, "ROW_GROUP_SIZE", group)
    with monkeypatch.context() as patch:
        patch.setattr(heatbath.engine, "measure_stream", Stop(heatbath.engine.measure_stream, 9, KeyboardInterrupt()))
        assert call("--jsonl", path, "--out", out, "--context", 16) == 130
    assert not out.exists() and "--resume" in capsys.readouterr().err
    assert call("--jsonl", path, "--out", out, "--context", 16) == 2
    assert call("--jsonl", path, "--out", out, "--context", 24, "--resume") == 2
    capsys.readouterr()
    assert call("--jsonl", path, "--out", out, "--context", 16, "--resume", "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == sum(len(TEXT) * (i + 1) for i in range(6))
    tables = [[trace.to_table() for trace in read_traces(name)] for name in (out, tmp_path / "whole.parquet")]
    assert len(tables[0]) == 6 and all(a.equals(b) for a, b in zip(*tables, strict=True))
    assert not list(tmp_path.glob("*.parts"))


def test_a_full_disk_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "t.parquet"))

    monkeypatch.setattr("heatbath.record.output_files.os.replace", full)
    assert call("--text", TEXT, "--out", tmp_path / "t.parquet") == 1
    assert "disk is full" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_writer_keeps_nothing_when_nothing_came(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), TraceWriter(tmp_path / "t.parquet"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


class Page(HTMLParser):
    """Reads a page back: texts and records of its tokens, and every address in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.records: list[list[Any]] = []
        self.addresses: list[str] = []
        self.stops = 0
        self.shown = ""
        self._in = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        values = dict(attrs)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action")]
        self._in = tag == "span"
        if tag == "span":
            self.records.append(json.loads(values["data-r"]))
            self.stops += values["tabindex"] == "0"

    def handle_endtag(self, tag: str) -> None:
        self._in = False

    def handle_data(self, data: str) -> None:
        self.shown += data if self._in else ""


def test_page_holds_every_record_and_asks_for_nothing(tmp_path: Path) -> None:
    path, out = tmp_path / "in.jsonl", tmp_path / "t.html"
    path.write_text('{"text": "+-+"}\n{"text": "--"}\n')
    assert call("--jsonl", path, "--html", out) == 0
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.shown == "+-+--" == "".join(record[0] for record in page.records)
    assert page.addresses == [] and "http" not in text.replace("http-equiv", "")
    assert page.stops == 2
    assert "prefers-color-scheme: dark" in text and "default-src 'none'" in text


def test_page_escapes_what_tokens_say(tmp_path: Path) -> None:
    from heatbath.cli.trace_html import open_page

    trace = measure(URN, "+-")
    nasty = '</span><script>alert("1")</script>&\n\x1b[2J'
    with open_page(tmp_path / "p.html", "<model>", 1.0) as add:
        add(Trace(trace.tokens, trace.positions, trace.record, trace.provenance, lambda token: nasty.encode()))
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    read_back = Page(text)
    assert "<script>alert" not in text and "<model>" not in text and "\x1b" not in text
    assert read_back.records[0][0] == nasty


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "give either"),
        (["--text", "+", "file.txt"], "give either"),
        (["--text", ""], "empty"),
        (["nowhere.txt"], "nowhere.txt"),
        (["--text", "+", "--temperature", "-1"], "-1"),
        (["--text", "+", "--temperature", "nan"], "nan"),
        (["--text", "+", "--bos"], "document start"),
        (["--text", "+", "--resume"], "--out"),
        (["--text", "+", "--out", "no/such/folder/t.parquet"], "no/such/folder"),
        (["--text", "+", "--model", "unknown"], "unknown"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and word in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(("line", "word"), [("{broken", "JSON"), ('{"txt": "+"}', "text"), ('{"text": 3}', "text")])
def test_broken_line_17_is_named_before_anything_is_written(
    line: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "in.jsonl", tmp_path / "t.parquet"
    path.write_text('{"text": "+-"}\n' * 16 + line + "\n" + '{"text": "+"}\n')
    assert call("--jsonl", path, "--out", out) == 2
    err = capsys.readouterr().err
    assert "line 17" in err and word in err and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_no_text_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "b.txt"
    path.write_bytes(b"+-\xff\xfe")
    assert call(path) == 2
    assert "UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "name", "other"), [("--out", "t.parquet", "t.csv"), ("--html", "t.html", "t.txt")])
def test_no_file_is_overwritten_unasked_or_misnamed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, name: str, other: str
) -> None:
    path = tmp_path / name
    path.write_text("precious")
    assert call("--text", TEXT, option, path) == 2
    err = capsys.readouterr().err
    assert "--force" in err and len(err.splitlines()) == 1 and path.read_text() == "precious"
    assert call("--text", TEXT, option, path, "--force") == 0
    assert path.read_bytes() != b"precious"
    for misnamed in (other, "t", "t.parquet.csv"):
        assert call("--text", TEXT, option, tmp_path / misnamed, "--force") == 2
        assert f" files end in {path.suffix}, got {misnamed}" in capsys.readouterr().err
    (tmp_path / f"folder{path.suffix}").mkdir()
    assert call("--text", TEXT, option, tmp_path / f"folder{path.suffix}", "--force") == 2
    assert "is a folder" in capsys.readouterr().err
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([name, f"folder{path.suffix}"])


def test_the_input_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.html"
    path.write_text(TEXT)
    (tmp_path / "link.html").symlink_to(path)
    for output in (path, tmp_path / "link.html"):
        assert call(path, "--html", output, "--force") == 2
        assert "is read by this command" in capsys.readouterr().err
    assert path.read_text() == TEXT


def test_leftovers_of_another_run_never_end_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parts without a run.json were taken for those of this run: the file held the old text."""
    out, parts = tmp_path / "x.parquet", tmp_path / "x.parquet.parts"
    parts.mkdir()
    with pytest.raises(KeyboardInterrupt), TraceWriter(tmp_path / "old.parquet") as writer:
        writer.write(measure(URN, "--------"))
        raise KeyboardInterrupt
    (tmp_path / "old.parquet.parts" / "00000000.parquet").replace(parts / "00000000.parquet")
    for label in (None, "", "{", '"another"'):
        if label is not None:
            (parts / "run.json").write_text(label)
        for options in ([], ["--resume"]):
            assert call("--text", TEXT, "--out", out, *options) == 2
            err = capsys.readouterr().err
            assert len(err.splitlines()) == 1 and "x.parquet.parts" in err and not out.exists()
    assert call("--text", TEXT, "--out", out, "--force") == 0
    assert Trace.load(out).text == TEXT and not parts.exists()


def test_what_is_complete_or_cannot_be_compared_is_not_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.parquet"
    assert call("--text", TEXT, "--out", out) == 0
    for options, words in (
        (["--text", TEXT, "--resume"], "is complete"),
        (["--text", TEXT, "--resume", "--force"], "give one of them"),
        (["-", "--resume"], "stdin"),
    ):
        capsys.readouterr()
        assert call("--out", out, *options) == 2
        assert words in capsys.readouterr().err
    assert Trace.load(out).text == TEXT
