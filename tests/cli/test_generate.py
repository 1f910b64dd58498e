"""`heatbath generate` on an exact model."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from heatbath.cli.live_display import TokenStripView
from heatbath.cli.main import main
from heatbath.engine import GenerationSettings, Run, generate
from heatbath.models import UrnModel
from heatbath.record import read_traces

URN = UrnModel(1.0)


@pytest.fixture(autouse=True)
def urn(monkeypatch: pytest.MonkeyPatch) -> None:
    import heatbath.models

    monkeypatch.setattr(heatbath.models, "load", lambda name, **options: URN, raising=False)


def call(*arguments: object) -> int:
    return main(["generate", *map(str, arguments)])


def test_text_streams_to_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("+-", "--max-tokens", 12, "--seed", 4, "-T", 0.8) == 0
    assert capsys.readouterr().out == generate(URN, "+-", max_tokens=12, seed=4, temperature=0.8).texts[0] + "\n"


def test_several_samples_are_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("-n", 3, "--max-tokens", 5) == 0
    texts = generate(URN, [], n=3, max_tokens=5).texts
    assert capsys.readouterr().out == "".join(f"[{i}] {text}\n" for i, text in enumerate(texts))


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("+", "-n", 2, "--max-tokens", 4, "--json", "--records", "--top-k", 1) == 0
    found = json.loads(capsys.readouterr().out)
    samples = found.pop("samples")
    assert found == {
        "prompt": "+",
        "sampler": "ancestral",
        "temperature": 1.0,
        "seed": 0,
        "text": "++++",
        "best_index": 0,
        "log_z": None,
        "log_z_stderr": None,
        "unreliable": None,
        "ess": 2.0,
        "tokens_spent": 8,
        "work": {},
        "diagnostics": {},
    }
    names = ["text", "token_ids", "log_weight", "logprob", "logprob_at_temperature", "finish_reason", "records"]
    assert [list(sample) for sample in samples] == [names] * 2
    assert samples[0]["text"] == "++++" and samples[0]["finish_reason"] == "length"
    assert [row["position"] for row in samples[0]["records"]] == [1, 2, 3, 4]
    assert {"kept_mass", "drawn_logprob"} <= set(samples[0]["records"][0])
    assert samples[0]["logprob"] == pytest.approx(sum(row["logprob"] for row in samples[0]["records"]))


def test_a_run_that_has_not_converged_says_so_in_place_of_log_z(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--sampler", "power", "--alpha", 4, "-o", "method=metropolis", "-o", "sweeps=6", "--max-tokens", 6)
    assert call(*options, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["log_z"] is None and found["log_z_stderr"] is None
    assert found["unreliable"].startswith("log Z = ") and "fewer than 4" in found["unreliable"]
    assert len(found["samples"]) == 8 and "acceptance" in found["diagnostics"]
    assert call(*options) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == found["text"] and found["unreliable"] in captured.err


def test_traces_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("-n", 3, "--max-tokens", 5, "--out", tmp_path / "t.parquet") == 0
    assert [trace.text for trace in read_traces(tmp_path / "t.parquet")] == generate(URN, [], n=3, max_tokens=5).texts


def test_a_file_is_not_overwritten_unasked_or_misnamed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("precious")
    assert call("--max-tokens", 5, "--out", path) == 2
    assert "--force" in capsys.readouterr().err and path.read_text() == "precious"
    assert call("--max-tokens", 5, "--out", tmp_path / "t.csv", "--force") == 2
    assert "Parquet files end in .parquet, got t.csv" in capsys.readouterr().err
    assert call("--max-tokens", 5, "--out", path, "--force") == 0
    assert len(read_traces(path)) == 1 and list(tmp_path.iterdir()) == [path]


def test_ctrl_c_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Run.step

    def stopped(self: Run, energies: Any) -> object:
        if self._step_index == 6:
            raise KeyboardInterrupt
        return real(self, energies)

    monkeypatch.setattr(Run, "step", stopped)
    assert call("-n", 2, "--max-tokens", 50, "--json", "--out", tmp_path / "t.parquet") == 130
    found = json.loads(capsys.readouterr().out)
    assert [(len(s["token_ids"]), s["finish_reason"]) for s in found["samples"]] == [(6, "interrupted")] * 2
    assert found["error"] == "stopped by Ctrl-C"
    assert [len(trace) for trace in read_traces(tmp_path / "t.parquet")] == [6, 6]


def test_live_strip_shows_text_and_record() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system="truecolor")
    run = Run(URN, [[]] * 2, GenerationSettings(max_tokens=6))
    with TokenStripView(console, URN.token_bytes, 2) as strip:
        for frame in run:
            strip.update(frame)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "heat capacity" in shown and "logprob" in shown
    plain = Console(file=io.StringIO(), width=100)
    for row, text in enumerate(strip._texts):
        plain.print(text, end="")
        assert text.plain == run.result().texts[row]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-T", "-1"], "-1"),
        (["-T", "nan"], "nan"),
        (["-n", "0"], "`n` must be at least 1, got 0"),
        (["--max-tokens", "0"], "max_tokens"),
        (["--seed", "-3"], "-3"),
        (["+", "--chat", "hello"], "either"),
        (["--chat", "hello"], "chat template"),
        (["--records"], "--json"),
        (["--top-p", "1.5"], "1.5"),
        (["--out", "no/such/t.parquet"], "no/such"),
        (["?"], "symbol"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and word in err and len(err.splitlines()) == 1
