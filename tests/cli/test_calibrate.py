"""`heatbath calibrate` from the command line, on an exact model in place of a language model."""

from __future__ import annotations

import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from heatbath.cli.main import main
from heatbath.trust.calibration import load_calibrator

SPEC = importlib.util.spec_from_file_location(
    "quiz_model", Path(__file__).parent.parent / "trust" / "calibration" / "quiz_model.py"
)
assert SPEC is not None and SPEC.loader is not None
quiz_model = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(quiz_model)

SMALL = ["--max-tokens", "4", "--max-error", "0.3", "--batch", "100", "--fit", "platt", "--fit", "isotonic"]
SIGNALS = ["--signal", "logprob@1:sum", "--signal", "entropy@1:mean", "--signal", "log_z@1:max"]


@pytest.fixture(autouse=True, scope="module")
def model() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heatbath.models.load", lambda *a, **k: quiz_model.QuizModel())
        patch.setattr("heatbath.trust.calibration.metric_summary._REPLICAS", 30)
        patch.setattr("heatbath.trust.calibration.signal_ranking.REPLICAS", 200)
        yield


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "questions.jsonl"
    entries = quiz_model.build_questions(quiz_model.QuizModel(), 300)
    entries[0]["answer"] = ["<script>alert('x')</script>", "\x1b[31m"]
    path.write_text("\n".join(map(json.dumps, entries)))
    return path


def run(questions: Path, out: Path, *more: str) -> int:
    return main(["calibrate", "--data", str(questions), "--out", str(out), *SMALL, *SIGNALS, *more])


@pytest.fixture(scope="module")
def done(model: None, questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calibration") / "not" / "yet"
    assert run(questions, out) == 0
    return out


def test_a_report_has_its_page_figures_and_files(done: Path) -> None:
    names = {str(path.relative_to(done)) for path in done.rglob("*") if path.is_file()}
    figures = {
        f"figures/{name}.{kind}" for name in ("reliability", "ranking", "risk-coverage") for kind in ("png", "svg")
    }
    assert names == {"report.html", "report.json", "calibrator.json", "answers.jsonl", *figures}
    page = (done / "report.html").read_text(encoding="utf-8")
    for words in ("Is log Z a signal?", "ECE, equal mass", "group 1", "Gauge control", "logprob@1:sum", "independent"):
        assert words in page
    assert "<script>" not in page and "\x1b" not in page and "$" not in page
    assert page.count("<svg") == 3
    for path in (done / "figures").glob("*.svg"):
        ElementTree.fromstring(path.read_text(encoding="utf-8"))
    report = json.loads((done / "report.json").read_text())
    assert report["kind"] == "heatbath calibration report" and len(report["ranking"]["signals"]) == 3
    assert load_calibrator(done).signals


def test_a_file_alone_and_json(questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "calibrator.json"
    assert run(questions, file, "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads(file.read_text())
    assert f"heatbath: the calibrator is {file}" in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["calibrator.json"]


def test_the_findings_are_printed(done: Path, questions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(questions, done, "--resume") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Guarantee" in out and "Is log Z a signal?" in out and "The report is" in out


def test_a_folder_with_answers_is_neither_overwritten_nor_continued_unasked(
    done: Path, questions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (done / "answers.jsonl").read_bytes()
    assert run(questions, done) == 2
    assert "add --resume to continue it, --force to overwrite it" in capsys.readouterr().err
    assert run(questions, done, "--resume", "--force") == 2
    assert run(questions, done, "--resume", "--seed", "5") == 2
    assert "holds the answers of another model" in capsys.readouterr().err
    assert (done / "answers.jsonl").read_bytes() == before


def test_ctrl_c_says_how_to_continue(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from heatbath.trust.calibration import answer_collection

    batches = []

    def answer(batch: object) -> list[object]:
        batches.append(batch)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return original(batch)

    original = answer_collection._Batch.answer
    monkeypatch.setattr(answer_collection._Batch, "answer", answer)
    assert run(questions, tmp_path) == 130
    assert "100 of 300 answers are saved: continue with the same command and --resume" in capsys.readouterr().err
    monkeypatch.setattr(answer_collection._Batch, "answer", original)
    assert run(questions, tmp_path, "--resume") == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--data", "nowhere.jsonl"], "cannot be read as text"),
        (["--max-error", "0"], "`max_error` must be in (0, 1), got 0.0"),
        (["--confidence", "1"], "`confidence` must be in (0, 1), got 1.0"),
        (["--rule", "guess"], "`rule` must be"),
        (["--fit", "plat"], "did you mean 'platt'"),
        (["--signal", "entropie"], "there is no signal"),
        (["--max-error", "0.01"], "needs at least"),
        (["--max-tokens", "0"], "`max_tokens` must be"),
        (["--out", "there.json", "--resume"], "give a folder for --out"),
        (["--scorer", "nowhere:function"], "nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    questions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert run(questions, out, *more) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and error.startswith("heatbath: ")
    assert not list(tmp_path.iterdir())
