"""`heatbath compare` from the command line, on small Markov chains in place of models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heatbath.cli.main import main
from heatbath.cli.side_specs import SideSpec, parse_side, parse_side_specs
from heatbath.errors import BadInput
from heatbath.models import MarkovModel
from heatbath.phases import Comparison
from heatbath.phases import phase_map as maps

BUNDLED = Path(maps.__file__).parent / "maps" / "smollm2-135m.json"
SMALL = ["--length", "32", "--pairs", "4", "--anchors", "6", "--temperatures", "0.4", "1.4"]


@pytest.fixture(autouse=True, scope="module")
def loaded() -> Iterator[list[tuple[str, Any, Any]]]:
    """A chain of letters is loaded for every name, other energies for "other"; what was asked for.

    Neither figures nor edges, which have their own tests and take most of the time.
    """
    table = np.random.default_rng(0).normal(size=(5, 4))
    asked: list[tuple[str, Any, Any]] = []

    def load(name: str, *, dtype: Any = None, device: Any = None) -> MarkovModel:
        asked.append((name, dtype, device))
        energies = table * (0.8 if name == "other" else 1.0)
        return MarkovModel(energies[:4], energies[4], symbols=[b"a", b"b", b"c", b" "])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heatbath.models.load", load)
        patch.setattr("heatbath.phases.comparison.model_comparison.compare_edges", lambda *_: [])
        patch.setattr("heatbath.phases.comparison.comparison_page._draw_figure", lambda *_: "<figure></figure>")
        yield asked


def _last(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, "one sentence"
    return lines[0]


def test_a_comparison_leaves_page_file_and_traces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "not" / "yet"
    assert main(["compare", "one", "other", "--out", str(out), *SMALL]) == 0
    assert {path.name for path in out.iterdir()} == {"comparison.html", "comparison.json", "traces-a", "traces-b"}
    words = " ".join(capsys.readouterr().out.split())
    for part in ("A: markov", "B: markov", "24 pairs of texts of 32 tokens", "Next-token distributions", "The page is"):
        assert part in words
    assert all(f" {t:.2f} " in words for t in (0.4, 0.6, 0.8, 1.2, 1.4)) and "…" not in words
    assert main(["compare", "one", "other", "--out", str(out), *SMALL]) == 2
    assert "add --resume" in _last(capsys)
    before = (out / "comparison.json").read_text()
    assert main(["compare", "one", "other", "--out", str(out), "--resume", "--json", *SMALL]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(before)


def test_sides_of_one_model_are_loaded_once_and_labelled_by_what_differs(
    tmp_path: Path, loaded: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    loaded.clear()
    options = ["--seed-b", "3", "--window-b", "top_k=2", "--window-b", "min_p=0.1"]
    assert main(["compare", "one:float32", "--dtype", "bfloat16", *options, "--out", str(tmp_path), *SMALL]) == 0
    assert loaded == [("one", "float32", None), ("one", "bfloat16", None)]
    found = Comparison.load(tmp_path)
    assert found.a.label == "markov, float32, seed 0, no window"
    assert found.b.label == "markov, bfloat16, seed 3, top_k=2 min_p=0.1"
    assert found.b.settings["seed"] == 3 and found.b.settings["windows"] == "top_k=2, min_p=0.1"
    loaded.clear()
    assert main(["compare", "one", ":seed=1", "--out", str(tmp_path / "new"), *SMALL]) == 0
    assert loaded == [("one", None, None)]


def test_prompts_and_texts_are_read(tmp_path: Path) -> None:
    prompts, texts = tmp_path / "prompts.jsonl", tmp_path / "texts.jsonl"
    prompts.write_text('{"prompt": "ab"}\n{"prompt": "c"}\n')
    texts.write_text('{"text": "abc abc"}\n{"text": "cab"}\n')
    files = ["--prompts", str(prompts), "--texts", str(texts)]
    assert main(["compare", "one", "other", *files, "--out", str(tmp_path / "out"), *SMALL]) == 0
    found = Comparison.load(tmp_path / "out")
    assert found.settings["prompts"] == 2 and found.texts is not None
    assert (found.texts.source, found.texts.texts, found.texts.tokens) == ("the texts of texts.jsonl", 2, 8)
    assert any("these 2 prompts" in note for note in found.notes)


def test_two_sweeps_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "phases.json").write_bytes(BUNDLED.read_bytes())
    sides = [str(tmp_path / "a"), str(tmp_path / "b" / "phases.json")]
    assert main(["compare", *sides, "--out", str(tmp_path / "out")]) == 0
    found = Comparison.load(tmp_path / "out")
    assert found.pairing is None and not found["entropy"].difference.any()
    assert "Two independent sweeps" in capsys.readouterr().out
    assert main(["compare", sides[0], "one", "--out", str(tmp_path / "more")]) == 2
    assert "must both be sweeps or both be models" in _last(capsys)
    assert not (tmp_path / "more").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one"], "there is nothing to compare with: give B, or an option such as --dtype-b"),
        ([":float32", "one"], "A must name a model, got ':float32'"),
        (["one", ":float16"], "'float16' in ':float16' is no setting of a side"),
        (["one", ":seed=-1"], "`seed` must be an integer of at least 0, got '-1'"),
        (["one", ":top_pp=0.9"], "top_pp"),
        (["one", ":top_p=7"], "`top_p` must be in (0, 1], got 7"),
        (["one", "other", "--anchors", "3"], "`anchors` must be from 6 to 72, got 3."),
        (["one", "other", "--texts", "absent.txt"], "there is no file absent.txt"),
        (["one", "other", "--prompts", "absent.jsonl"], "absent.jsonl cannot be read"),
        (["one", "other", "--chat"], "has no chat template"),
        (["one", "other", "--text-temperature", "0"], "`text_temperature` must be above 0, got 0."),
        (["one", "other", "--temperatures", "1", "0.5"], "temperatures must satisfy"),
    ],
)
def test_bad_input_is_one_sentence_before_any_work(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert words in _last(capsys)
    assert not list((tmp_path / "out").rglob("*.*"))


def test_ctrl_c_keeps_finished_batches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("heatbath.phases.comparison.model_comparison.compare_observables", interrupt)
    assert main(["compare", "one", "other", "--out", str(tmp_path), *SMALL]) == 130
    kept, stopped = capsys.readouterr().err.splitlines()
    assert "continue with --resume" in kept and stopped == "heatbath: stopped by Ctrl-C."
    assert list(tmp_path.glob("traces-?/traces/*.parquet")) and not (tmp_path / "comparison.json").exists()


NAMES = st.from_regex(r"[a-z0-9][a-z0-9._/-]{0,20}", fullmatch=True)
SETTINGS = st.builds(
    SideSpec,
    dtype=st.sampled_from([None, "float32", "bfloat16"]),
    device=st.sampled_from([None, "cpu", "cuda", "cuda:1"]),
    seed=st.none() | st.integers(0, 10**9),
    windows=st.lists(st.sampled_from(["top_p=0.9", "top_k=40", 'x={"a": 1, "b": [2, 3]}', "p_less=true"])).map(tuple),
)


@given(NAMES, SETTINGS)
def test_a_side_is_parsed_as_it_is_written(name: str, spec: SideSpec) -> None:
    settings = [spec.dtype, spec.device, None if spec.seed is None else f"seed={spec.seed}", *spec.windows]
    written = ",".join(word for word in settings if word)
    parsed = parse_side(f"{name}:{written}" if written else name)
    assert parsed == SideSpec(name, spec.dtype, spec.device, spec.seed, spec.windows)


@given(SETTINGS, SETTINGS)
def test_settings_of_b_come_before_those_of_both(common: SideSpec, of_b: SideSpec) -> None:
    a, b = parse_side_specs(("m:bfloat16", "m:seed=7"), common, of_b)
    assert (a.dtype, a.seed) == ("bfloat16", common.seed)
    assert (b.seed, b.dtype) == (7, of_b.dtype or common.dtype)
    assert b.windows == (of_b.windows or common.windows)


@pytest.mark.parametrize("text", ["C:\\models\\one", "C:/models/one.gguf", "owner/name"])
def test_a_name_with_a_drive_letter_stays_whole(text: str) -> None:
    assert parse_side(text) == SideSpec(text)


def test_a_path_with_a_colon_that_exists_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "a:float32"
    path.mkdir()
    assert parse_side(str(path)) == SideSpec(str(path))


def test_an_empty_setting_is_refused() -> None:
    with pytest.raises(BadInput, match="'' in 'm:,' is no setting"):
        parse_side("m:,")
