"""Every sampler, field, potential, window and schedule can be asked for on the command line, and bad ones are told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from heatbath.cli.main import main
from heatbath.engine import SAMPLERS
from heatbath.engine.registry import FIELDS, POTENTIALS, SCHEDULES, WINDOWS
from heatbath.models import TableModel

LETTERS = [b"a", b"b", b"c", b"1", b"2", b"<end>"]


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    import heatbath.models

    rng = np.random.default_rng(0)
    model = TableModel(lambda prefix: rng.normal(0.0, 1.0, 6).tolist(), 6, stop_token_ids=(5,), symbols=LETTERS)
    monkeypatch.setattr(heatbath.models, "load", lambda name, **options: model, raising=False)


def call(*arguments: object) -> int:
    return main(["generate", *map(str, arguments)])


def asked(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    assert call("--max-tokens", 6, "--json", *arguments) == 0, capsys.readouterr().err
    return dict(json.loads(capsys.readouterr().out))


FIELD_VALUES = {
    "forbid": "ab",
    "phrase_energy": '{"phrases": ["ab"], "energy": 2.0, "ignore_case": true}',
    "forbid_tokens": "[0, 1]",
    "require": '["1"]',
    "token_energy": '{"tokens": ["a", 1], "energy": 2.0}',
    "bias": '{"a": 1.0, "3": -1.0, "weight": 0.5}',
    "repetition": "1.3",
    "presence": '{"penalty": 0.5, "after": 1, "until": 4}',
    "frequency": "0.5",
    "dry": '{"multiplier": 0.8, "allowed_length": 1}',
    "json_schema": '{"type": "integer", "maximum": 22}',
    "regex": "a[bc]+1?",
    "forbid_regex": '{"pattern": "ab", "ignore_case": true}',
    "lark": 'start: "a" | "b" start',
    "min_length": "3",
    "max_length": "3",
    "length_bias": "0.5",
    "contrast": '{"other": "", "gamma": 1.2}',
    "product": "table",
    "mixture": "table",
    "gumbel_noise": "0.3",
    "gaussian_noise": "0.3",
    "max_entropy": '{"features": {"a": [1.0]}, "lambdas": [0.5]}',
}
POTENTIAL_VALUES = {
    "regex": "[abc]+",
    "automaton": '{"arcs": [[0, "a", 0], [0, "b", 0], [0, "c", 0]], "final": [0]}',
    "cfg": "S -> 'a' S | 'b' S | 'c' S | ",
    "length": '{"target": 3, "width": 1}',
    "finished": None,
    "similarity": "abc",
    "safety": "1.0",
    "sentiment": "1.0",
    "function": "builtins:len",
}
WINDOW_VALUES = {
    "top_k": "3",
    "top_p": "0.9",
    "min_p": "0.1",
    "typical": "0.9",
    "epsilon": "0.05",
    "eta": "0.1",
    "top_n_sigma": "1.0",
    "p_less": None,
    "p_less_norm": None,
    "top_h": "0.8",
    "exclude_top_choices": '{"threshold": 0.1, "probability": 0.5}',
}
SCHEDULE_VALUES = {
    "constant": "0.7",
    "linear": '{"start": 1.5, "end": 0.5}',
    "cosine": '{"start": 1.5, "end": 0.5}',
    "geometric": '{"start": 1.5, "ratio": 0.8}',
    "logarithmic": "1.0",
    "by_position": "[[0, 1.2], [2, 0.5]]",
    "by_phase": '{"marker": "a", "before": 1.0, "after": 0.3}',
    "thermostat": '{"hold": "entropy", "target": 1.0}',
    "mirostat": "1.0",
    "by_intent": "code",
    "latency": '{"seconds": 5.0}',
}


def test_the_values_here_are_for_all_there_is() -> None:
    assert [*FIELD_VALUES] == [*FIELDS] and [*POTENTIAL_VALUES] == [*POTENTIALS]
    assert [*WINDOW_VALUES] == [*WINDOWS] and [*SCHEDULE_VALUES] == [*SCHEDULES]


def written(name: str, value: str | None) -> str:
    return name if value is None else f"{name}={value}"


@pytest.mark.parametrize("name", FIELDS)
def test_fields(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "-n", 4, "--field", written(name, FIELD_VALUES[name]))
    assert len(found["work"]) == 1 and all(len(work) == 4 for work in found["work"].values())


def test_grammars_hold(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "--field", "regex=a[bc]+1?", "--sampler", "smc", "-o", "particles=8")
    whole = [sample for sample in found["samples"] if sample["finish_reason"] == "stop"]
    assert whole and all(re.fullmatch("a[bc]+1?", sample["text"]) for sample in whole)
    assert found["log_z"] < 0 and found["log_z_stderr"] > 0


@pytest.mark.parametrize("name", POTENTIALS)
def test_potentials(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--potential", written(name, POTENTIAL_VALUES[name])]
    found = asked(capsys, *chosen, "--sampler", "smc", "-o", "particles=4", "-o", "replicates=2")
    assert found["log_z"] is None and "effective sequences, fewer than 10" in found["unreliable"]
    assert len(found["samples"]) == 8


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "--window", written(name, WINDOW_VALUES[name]), "--records")
    record = found["samples"][0]["records"][0]
    assert len([column for column in record if column.startswith("kept_mass/")]) == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "--schedule", written(name, SCHEDULE_VALUES[name]), "--records")
    assert found["samples"][0]["records"][0]["temperature"] >= 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ancestral", ["-n", "3"]),
        ("greedy", []),
        ("beam", ["-o", "width=3"]),
        ("best-of", ["-n", "3"]),
        ("vote", ["-o", "n=3"]),
        ("smc", ["-o", "particles=4", "--alpha", "2"]),
        ("power", ["--alpha", "2", "-o", "particles=4"]),
        ("power", ["-o", "method=metropolis", "-o", "sweeps=8"]),
        ("power", ["-o", "method=lookahead", "-o", "block=2"]),
        ("anneal", ["-o", "particles=8"]),
        ("tempering", ["-o", "sweeps=8"]),
    ],
)
def test_samplers(name: str, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "--sampler", name, *options)
    assert found["tokens_spent"] > 0 and found["text"] == found["samples"][found["best_index"]]["text"]
    if name in ("smc", "power", "anneal"):
        assert (found["log_z"] is None) == bool(found["unreliable"]) and found["ess"] > 0
    assert call("--max-tokens", 6, "--sampler", name, *options) == 0
    out, _ = capsys.readouterr()
    assert found["text"] in out


def test_every_sampler_is_named_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert ", ".join(name for name in SAMPLERS if name != "ancestral") in shown


def test_a_field_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "schema.json").write_text('{"type": "integer", "maximum": 22}')
    found = asked(capsys, "--field", f"json_schema=@{tmp_path}/schema.json", "-n", 4)
    assert all(int(sample["text"]) <= 22 for sample in found["samples"] if sample["finish_reason"] == "stop")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--sampler", "gredy"], "did you mean 'greedy'"),
        (["--sampler", "smc", "-o", "particle=3"], "particle"),
        (["--sampler", "smc", "-o", "particles"], "no value"),
        (["--sampler", "smc", "-o", "particles=0"], "`particles` must be at least 1, got 0"),
        (["--sampler", "smc", "-o", "particles=many"], "particles"),
        (["--sampler", "power", "--alpha", "-1"], "`alpha` must be"),
        (["--sampler", "power", "-o", "method=magic"], "magic"),
        (["--sampler", "ancestral", "--alpha", "2"], "alpha"),
        (["--sampler", "ancestral", "--potential", "regex=a"], "weighs no potentials"),
        (["--sampler", "smc", "-n", "4"], "takes no n"),
        (["--sampler", "langevin"], "gradients"),
        (["--sampler", "smc", "--schedule", "constant=1"], "one temperature"),
        (["--field", "regx=a"], "did you mean regex"),
        (["--field", "dry"], "needs a value"),
        (["--field", "dry=much"], "dry"),
        (["--field", "regex=("], "grammar"),
        (["--field", "json_schema=@nowhere.json"], "nowhere.json"),
        (["--field", r"regex=[^\s\S]"], "no completion"),
        (["--field", 'contrast={"gamma": 2}'], "contrast"),
        (["--potential", "function=nowhere:f", "--sampler", "smc"], "nowhere:f"),
        (["--window", "top_k=0"], "top_k"),
        (["--schedule", "linear=1"], "linear"),
        (["--chart", "nowhere.json"], "nowhere.json"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--max-tokens", 6, *arguments) in (1, 2)
    out, err = capsys.readouterr()
    assert out == "" and word in err and len(err.splitlines()) == 1 and "Traceback" not in err


def test_what_there_is_comes_with_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--sampler", "smc", "-o", "particles=4", "--potential", "function=math:sqrt"]
    assert call("--max-tokens", 6, "--json", *chosen) == 2
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert "sqrt" in found["error"] and found["error"] in err and len(found["samples"]) == 16
