"""`heatbath prompts` on an exact model: what it prints and writes, and the exit code of a drift."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heatbath.cli.main import main
from heatbath.models import MarkovModel

GOLDEN = Path(__file__).parent / "golden"
MODELS = {"markov": MarkovModel.random(1, 6, scale=1.5), "other": MarkovModel.random(2, 6, scale=0.3)}
FILE = """\
---
name: letters
version: {version}
model: markov
variables:
  t: {{type: string, description: Letters.}}
  n: {{type: integer, default: 1}}
samples:
  - t: ab
  - t: cde
---
a{{% for i in range(n) %}}{{{{ t }}}}{{% endfor %}}{more}
"""


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    import heatbath.models

    monkeypatch.setattr(heatbath.models, "load", lambda name, **_: MODELS[name], raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    write(tmp_path)
    yield tmp_path


def write(folder: Path, version: str = "1", more: str = "") -> None:
    (folder / "letters.md").write_text(FILE.format(version=version, more=more))


def call(capsys: pytest.CaptureFixture[str], command: str, *arguments: object, code: int = 0) -> str:
    assert main(["prompts", command, *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return out if code != 2 else err


def compare_golden(name: str, text: str, folder: Path) -> None:
    """Numbers are rounded and the version of heatbath is left out: they differ between machines."""
    text = text.replace(str(folder), "FOLDER")
    text = re.sub(r'"heatbath": "[^"]*"', '"heatbath": "VERSION"', text)
    text = re.sub(r"-?\d+\.\d{3,}(e-?\d+)?", lambda match: f"{float(match[0]):.3f}", text)
    golden = GOLDEN / name
    if os.environ.get("HEATBATH_WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def test_the_first_check_writes_the_baseline_and_the_next_finds_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare_golden("prompts_new.txt", call(capsys, "check", folder), folder)
    written = json.loads((folder / "letters.baseline.json").read_text())
    assert (written["kind"], written["schema"]) == ("heatbath prompt baseline", 1)
    assert written["fingerprint"] == MODELS["markov"].fingerprint and len(written["digest"]) == 64
    assert (folder / "versions" / "letters@1.md").read_text() == (folder / "letters.md").read_text()
    result = json.loads(call(capsys, "check", folder, "--json"))
    assert result["status"] == "same" and not any(change["is_drift"] for change in result["changes"])
    compare_golden("prompts_same.json", json.dumps(result, indent=1) + "\n", folder)


def test_a_drift_fails_until_it_is_accepted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "check", folder)
    write(folder, "2", "ffff")
    before = (folder / "letters.baseline.json").read_bytes()
    out = call(capsys, "check", folder, code=1)
    compare_golden("prompts_drift.txt", out, folder)
    assert (folder / "letters.baseline.json").read_bytes() == before
    assert "baseline updated" in call(capsys, "check", folder, "--update")
    assert json.loads(call(capsys, "check", folder, "--json"))["status"] == "same"
    out = call(capsys, "show", folder, "letters@1")
    assert out.startswith("letters@1 ") and "ffff" not in out


def test_another_model_is_a_change_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "check", folder)
    assert "the model was markov" in call(capsys, "check", folder, "--model", "other", code=1)
    assert "has not moved" in call(capsys, "check", folder, "--model", "other", "--tolerance", 100)


def test_a_version_has_one_content(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "check", folder)
    write(folder, "1", "f")
    for more in ((), ("--update",)):
        assert "accepted with other content: raise the version" in call(capsys, "check", folder, *more, code=1)


def test_settings_are_those_of_the_baseline(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "check", folder, "--answers", 4, "--max-tokens", 3)
    assert json.loads(call(capsys, "check", folder, "--json"))["baseline"]["settings"]["answers"] == 4
    assert "was measured with answers 4, not 5" in call(capsys, "check", folder, "--answers", 5, code=2)
    (folder / "letters.baseline.json").write_text("{}")
    assert "is not a prompt baseline" in call(capsys, "check", folder, code=2)


def test_list_show_and_render(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(
        r"letters@1 +[0-9a-f]{12}  letters\.md  t: string, n: integer\?\n", call(capsys, "list", folder)
    )
    listed: dict[str, Any] = json.loads(call(capsys, "list", folder, "--json"))
    assert (listed["name"], listed["model"], listed["retrieval"]) == ("letters", "markov", None)
    shown = json.loads(call(capsys, "show", folder, "letters", "--json"))
    assert shown["source"] == (folder / "letters.md").read_text() and shown["baseline"] is None
    assert call(capsys, "render", folder, "letters", "--set", "t=bc", "--set", "n=2") == "# user\nabcbc\n"
    rendered = json.loads(call(capsys, "render", folder, "letters", "--sample", 1, "--model", "markov", "--json"))
    assert (rendered["text"], rendered["token_ids"]) == ("acde", [0, 2, 3, 4])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("letters",), "needs the variable t: give a text"),
        (("letters", "--set", "t"), "give name=value"),
        (("letters", "--set", "t=a", "--set", "n=x"), "give a whole number, as JSON"),
        (("letters", "--set", "x=1"), "has no variable 'x'"),
        (("letters", "--sample", "7"), "count from 0"),
        (("leters",), "did you mean 'letters'?"),
    ],
)
def test_what_cannot_be_rendered(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    error = call(capsys, "render", folder, *arguments, code=2)
    assert words in error and error.count("\n") == 1


def test_a_mistake_is_named_with_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, "1", "{{ x }}")
    error = call(capsys, "check", folder, code=2)
    assert f"{folder}/letters.md:12: " in error and "x is not among the variables" in error
    assert "there is no folder" in call(capsys, "list", folder / "missing", code=2)
