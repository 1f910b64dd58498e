"""`heatbath sweep` from the command line, on a small Markov chain in place of a model."""

from __future__ import annotations

import errno
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heatbath.cli.main import main
from heatbath.models import MarkovModel
from heatbath.phases import PhaseMap

SMALL = ["--length", "32", "--sequences", "24", "--batch", "12", "--anchors", "6"]


@pytest.fixture(autouse=True, scope="module")
def model() -> Iterator[None]:
    """A chain of letters is loaded, and its figures are empty: drawing has its own tests and takes most of the time."""
    table = np.random.default_rng(0).normal(size=(5, 4))
    chain = MarkovModel(table[:4], table[4], symbols=[b"a", b"b", b"c", b" "])

    def empty(map_: PhaseMap, folder: Path) -> None:
        from heatbath.phases.report.figures import figure_name

        for name in ["overview", *map(figure_name, map_.curves)]:
            (folder / f"{name}.svg").write_text("<svg></svg>")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heatbath.models.load", lambda *a, **k: chain)
        patch.setattr("heatbath.phases.report.html.write_figures", empty)
        yield


@pytest.fixture(scope="module")
def done(model: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one whole sweep."""
    out = tmp_path_factory.mktemp("sweep") / "not" / "yet"
    assert main(["sweep", "--out", str(out), "--seed", "3", *SMALL]) == 0
    return out


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, done: Path) -> list[dict[str, Any]]:
    """A sweep that only answers; what it was asked for."""
    asked: list[dict[str, Any]] = []
    answer = PhaseMap.load(done)

    def swept(model: Any, **given: Any) -> PhaseMap:
        asked.append(given)
        given["progress"](given["plan"].sequences, given["plan"].sequences)
        return answer

    monkeypatch.setattr("heatbath.phases.temperature_sweep.sweep", swept)
    return asked


def _last(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, "one sentence"
    return lines[0]


def test_a_sweep_leaves_report_map_and_traces(done: Path) -> None:
    assert {path.name for path in done.iterdir()} == {"report.html", "phases.json", "figures", "traces"}
    assert len(list((done / "traces").glob("*.parquet"))) == 2
    settings = PhaseMap.load(done).settings
    assert (settings["seed"], settings["length"], settings["dtype"]) == (3, 32, None)


def test_the_terminal_gets_a_verdict_and_the_way_to_the_report(
    quick: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1:3] == [
        "Without a chat template, texts from the start of a document.",
        "Drawn without windows, 32 tokens, end of text forbidden.",
    ]
    assert "Freezes below  no edge found" in out and "no range to recommend" in out
    assert all(f"\n{t}  " in out for t in ("0.20", "0.60", "1.00", "1.40", "1.80"))
    assert out.rstrip().endswith(f"The report is {tmp_path / 'report.html'}")


def test_json_is_the_map(quick: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--out", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((tmp_path / "phases.json").read_text())
    assert json.loads(out)["settings"]["chat"] is False and "report.html" in err


def test_options_reach_the_plan(quick: list[dict[str, Any]], tmp_path: Path) -> None:
    options = ["--temperatures", "0.4", "2", "--criticality", "--tags", "tokens", "--thorough", "--anchors", "9"]
    assert main(["sweep", "--out", str(tmp_path), *options]) == 0
    plan, look = quick[0]["plan"], quick[0]["analysis"]
    assert (plan.low, plan.high, plan.length, plan.sequences, plan.anchors) == (0.4, 2.0, 256, 2048, 9)
    assert look.criticality and look.tags == "tokens"


def test_how_texts_are_asked_for_and_drawn(quick: list[dict[str, Any]], tmp_path: Path) -> None:
    assert main(["sweep", "--out", str(tmp_path), "--raw", "--window", "top_p=0.9", "--window", "min_p=0.05"]) == 0
    plan = quick[0]["plan"]
    assert (plan.chat, plan.allow_end, plan.window) == (False, False, ("top_p=0.9", "min_p=0.05"))
    assert len(plan.temperatures) == 20, "with windows all texts go to the same temperatures"


def test_the_plan_says_tokens_and_minutes_and_starts_nothing(
    quick: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new"
    assert main(["sweep", "--plan", "--out", str(out), *SMALL]) == 0
    said = capsys.readouterr().out
    pattern = r"heatbath: sweep of markov, without a chat template, texts from the start of a document: "
    pattern += r"24 texts, 768 tokens, \d+ to \d+ seconds on this machine\n"
    assert re.fullmatch(pattern, said)
    assert main(["sweep", "--plan", "--json", "--out", str(out), *SMALL]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert (cost["texts"], cost["tokens"], cost["may_end"]) == (24, 768, False) and 0 < cost["seconds"][0] < cost[
        "seconds"
    ][1]
    assert not out.exists() and not quick


def test_the_plan_counts_the_answers_to_scored_prompts(
    quick: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "ab", "answer": "c"}\n' * 8)
    assert main(["sweep", "--plan", "--json", "--prompts", str(path), *SMALL]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert (cost["texts"], cost["tokens"], cost["may_end"]) == (24 + 8 * 8 * 16, 768 + 8 * 8 * 16 * 64, True)


def test_a_terminal_gets_the_estimate_first(
    quick: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(["sweep", "--out", str(tmp_path), *SMALL]) == 0
    assert capsys.readouterr().err.startswith("heatbath: sweep of markov, without a chat template")


def test_the_users_functions(quick: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_counts.py").write_text("def words(text):\n    return len(text.split())\n")
    assert main(["sweep", "--observable", "words=my_counts:words"]) == 0
    assert quick[0]["analysis"].observables["words"]("a b c") == 3
    assert (tmp_path / "report" / "phases.json").exists()


def test_prompts_are_continued_and_those_with_answers_scored(
    quick: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from heatbath.phases.accuracy import ScoringResult
    from heatbath.phases.advice import BestTemperature, WrongAnswers

    best = (BestTemperature("one answer", 0.4, (0.2, 0.6), (0.2, 0.4), (0.5, 0.75), (0.1, 0.1)),)
    scored: list[int] = []

    def score(model: Any, items: Any, temperatures: Any, **given: Any) -> ScoringResult:
        scored.append(len(items))
        return ScoringResult(best, (WrongAnswers("ab", "c", "contains", 0.4, 0.5, ("d",)),))

    monkeypatch.setattr("heatbath.phases.accuracy.grade_prompts", score)
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "ab"}\n\n{"prompt": "c"}\n')
    assert main(["sweep", "--out", str(tmp_path), "--prompts", str(path)]) == 0
    assert quick[0]["plan"].prompts == ((0, 1), (2,)) and not scored
    path.write_text('{"prompt": "ab", "answer": "c"}\n' * 8)
    assert main(["sweep", "--out", str(tmp_path), "--force", "--prompts", str(path)]) == 0
    assert scored == [8]
    out = capsys.readouterr().out
    assert "T = 0.40" in out and "(0.20 to 0.60)" in out and "1 prompt has answers that were scored wrong" in out
    assert PhaseMap.load(tmp_path).settings["prompt_source"] == "prompts.jsonl"
    assert [one.texts for one in PhaseMap.load(tmp_path).advice.wrong] == [("d",)]


REFUSED = [
    (["--temperatures", "1", "0.5"], "must satisfy 0.1 <= low < high"),
    (["--temperatures", "nan", "1"], "must satisfy 0.1 <= low < high"),
    (["--length", "100"], "must be a multiple of"),
    (["--sequences", "10"], "at least two batches, got 10"),
    (["--criticality", "--tags", "verbs"], "got 'verbs'"),
    (["--observable", "words"], "expected name=module:function"),
    (["--observable", "a=json:dumps", "--observable", "a=json:dumps"], "given twice"),
    (["--observable", "a=nowhere_at_all:f"], "cannot be imported"),
    (["--observable", "a=json:nothing"], "cannot be imported"),
    (["--observable", "a=json:__name__"], "must be a function"),
    (["--scorer", "json:dumps"], "give --prompts as well"),
    (["--prompts", "nowhere.jsonl"], "cannot be read"),
    (["--chat"], "has no chat template"),
    (["--system", "be brief"], "a system message needs a chat template"),
    (["--allow-end"], "no token that ends a text"),
    (["--window", "top_q=0.9"], "no window 'top_q'"),
    (["--window", "top_p"], "write top_p="),
    (["--window", "top_k=3", "--anchors", "64", "--sequences", "128"], "at least 256 for 64 temperatures"),
]


@pytest.mark.parametrize(
    ("options", "words"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_bad_input_is_one_sentence_before_anything_is_drawn(
    options: list[str], words: str, quick: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--out", str(tmp_path / "new"), *options]) == 2
    assert words in _last(capsys) and not quick


def test_a_broken_line_is_named(quick: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a"}\n' * 16 + '{"prompt": \n')
    assert main(["sweep", "--prompts", str(path)]) == 2
    assert "line 17" in _last(capsys)


def test_too_few_references_are_refused_first(
    quick: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a", "answer": "b"}\n' * 3)
    assert main(["sweep", "--out", str(tmp_path), "--prompts", str(path)]) == 2
    assert "has 3 prompts" in _last(capsys) and not quick


def test_a_file_is_no_folder(quick: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report").touch()
    assert main(["sweep", "--out", str(tmp_path / "report")]) == 2
    assert "is a file" in _last(capsys) and not quick


def test_a_folder_that_cannot_be_written_is_found_first(
    quick: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *a: Any, **k: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    assert main(["sweep", "--out", str(tmp_path)]) == 1
    assert "no permission" in _last(capsys) and not quick


def test_another_sweeps_folder_is_refused(done: Path, quick: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--out", str(done)]) == 2
    assert "add --resume" in _last(capsys) and not quick


def test_a_report_is_not_overwritten_unasked(
    quick: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "phases.json").write_text("precious")
    assert main(["sweep", "--out", str(tmp_path)]) == 2
    assert "phases.json exists: add --force" in _last(capsys) and not quick
    assert main(["sweep", "--out", str(tmp_path), "--force", "--resume"]) == 2
    assert "give one of them" in _last(capsys)
    assert (tmp_path / "phases.json").read_text() == "precious"


def test_force_removes_the_traces_of_the_sweep_before(quick: list[Any], tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    for name in ("batch-0000.parquet", "plan.json", "notes.txt"):
        (traces / name).write_text("old")
    assert main(["sweep", "--out", str(tmp_path), "--force", "--tags", "nonsense", "--criticality"]) == 2
    assert len(list(traces.iterdir())) == 3, "bad input removes nothing"
    assert main(["sweep", "--out", str(tmp_path), "--force"]) == 0
    assert [path.name for path in traces.iterdir()] == ["notes.txt"] and (tmp_path / "phases.json").exists()


@pytest.mark.parametrize("plan", [None, "", "{", "[]"])
def test_traces_that_may_be_of_any_sweep_are_not_used(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: str | None
) -> None:
    shutil.copytree(done, tmp_path / "copy")
    path = tmp_path / "copy" / "traces" / "plan.json"
    path.unlink() if plan is None else path.write_text(plan)
    assert main(["sweep", "--out", str(tmp_path / "copy"), "--resume", "--seed", "3", *SMALL]) == 2
    assert "plan.json" in _last(capsys)


def test_resuming_with_other_settings_is_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--out", str(done), "--resume", "--seed", "4", *SMALL]) == 2
    assert "another sweep" in _last(capsys)


def test_what_is_stopped_goes_on_to_the_same_result(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, options = tmp_path / "my report", ["--seed", "3", *SMALL]
    with monkeypatch.context() as patch:
        _stop_after_the_first_batch(patch)
        capsys.readouterr()
        assert main(["sweep", "--out", str(broken), *options]) == 130
    kept, stopped = capsys.readouterr().err.splitlines()
    assert stopped == "heatbath: stopped by Ctrl-C."
    assert kept.startswith("heatbath: 12 of 24 texts are saved: continue with heatbath sweep ")
    command = kept.split("continue with heatbath ")[1]
    assert command == f"sweep --length 32 --sequences 24 --batch 12 --anchors 6 --seed 3 --resume --out '{broken}'"
    assert not (broken / "phases.json").exists() and len(list((broken / "traces").glob("*.parquet"))) == 1
    assert main(["sweep", "--resume", "--out", str(broken), *options]) == 0
    assert _timeless(broken) == _timeless(done)


def _stop_after_the_first_batch(patch: pytest.MonkeyPatch) -> None:
    from heatbath.phases import sampling

    draw = sampling._draw_batch

    def stopped(model: Any, plan: Any, temperatures: Any, first: int, path: Any) -> Any:
        if first:
            raise KeyboardInterrupt
        return draw(model, plan, temperatures, first, path)

    patch.setattr(sampling, "_draw_batch", stopped)


def _timeless(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "phases.json").read_text())
    content["budget"].pop("seconds")
    return content
