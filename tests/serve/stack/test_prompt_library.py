"""The folder of prompts: what is read again, what stays, and how versions are chosen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prompt_files import write_prompt

from heatbath.errors import BadInput
from heatbath.serve.stack.prompts import PromptLibrary
from heatbath.serve.stack.prompts.library import version_order


def text(library: PromptLibrary, name: str, version: str | None = None) -> str:
    return library.find(name, version).render().messages[0]["content"]


def put(path: Path, body: str, version: str = "1", name: str = "p") -> Path:
    """Write a prompt, at a time that differs from that of the file before."""
    before = path.stat().st_mtime_ns if path.exists() else None
    write_prompt(path, body, "{}", name=name, version=version)
    if before is not None:
        os.utime(path, ns=(before + 1_000_000, before + 1_000_000))
    return path


def test_a_changed_file_is_read_again_and_the_old_version_stays(tmp_path: Path) -> None:
    file = put(tmp_path / "p.md", "one")
    library = PromptLibrary.open(tmp_path)
    first = library.find("p")
    put(file, "two", version="2")
    assert (text(library, "p"), text(library, "p@1"), text(library, "p", "2")) == ("two", "one", "two")
    put(file, "two again", version="2")
    assert text(library, "p@2") == "two again"
    assert text(library, "p", first.digest[:12]) == "one"
    assert [each.version for each in library.list_versions("p")] == ["1", "2", "2"]


def test_versions_lie_side_by_side(tmp_path: Path) -> None:
    for version in ("1.9", "1.10", "1.2"):
        put(tmp_path / f"p-{version}.md", version, version)
    library = PromptLibrary.open(tmp_path)
    assert (text(library, "p"), text(library, "p@1.2")) == ("1.10", "1.2")
    assert [each.reference for each in library.list_files()] == ["p@1.2", "p@1.9", "p@1.10"]
    assert [each.reference for each in library.list_current()] == ["p@1.10"]
    assert sorted(["2", "10", "1.0-rc", "1.0"], key=version_order) == ["1.0", "1.0-rc", "2", "10"]


def test_a_removed_file_is_reached_by_its_version_only(tmp_path: Path) -> None:
    file = put(tmp_path / "p.md", "one")
    library = PromptLibrary.open(tmp_path)
    file.unlink()
    assert text(library, "p@1") == "one" and library.list_current() == []
    with pytest.raises(BadInput, match=r"prompt p has no file any more: give one of its versions, 1\.") as caught:
        library.find("p")
    assert caught.value.param == "version"


def test_the_folder_of_versions_is_known_from_the_start(tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    put(tmp_path / "versions" / "p@1.md", "one")
    put(tmp_path / "p.md", "two", version="2")
    (tmp_path / "README.md").write_text("About these prompts.")
    library = PromptLibrary.open(tmp_path)
    assert (text(library, "p"), text(library, "p@1")) == ("two", "one")


def test_a_file_with_a_mistake_keeps_the_last_good_one_and_says_so(tmp_path: Path) -> None:
    told: list[str] = []
    file = put(tmp_path / "p.md", "one")
    library = PromptLibrary.open(tmp_path, told.append)
    put(file, "{{ wrong }}", version="2")
    assert (text(library, "p"), text(library, "p")) == ("one", "one")
    assert told == library.problems and len(told) == 1
    assert told[0].startswith(f"{file}:6: ") and "wrong is not among the variables" in told[0]
    put(file, "two", version="2")
    assert text(library, "p") == "two" and library.problems == []


def test_a_mistake_at_the_start_is_an_error(tmp_path: Path) -> None:
    put(tmp_path / "p.md", "{{ wrong }}")
    with pytest.raises(BadInput, match="wrong is not among"):
        PromptLibrary.open(tmp_path)
    with pytest.raises(BadInput, match="there is no folder"):
        PromptLibrary.open(tmp_path / "missing")


def test_two_files_cannot_have_one_version_and_can_change_places(tmp_path: Path) -> None:
    a, b = put(tmp_path / "a.md", "a"), put(tmp_path / "b.md", "b", version="2")
    library = PromptLibrary.open(tmp_path)
    put(b, "c", version="1")
    assert text(library, "p@1") == "a" and text(library, "p") == "b"
    assert library.problems == [f"{b}:1: p@1 is in a.md too: give one of them another version."]
    put(a, "d", version="2")
    assert (text(library, "p@1"), text(library, "p@2"), library.problems) == ("c", "d", [])


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("q", None, "there is no prompt 'q'"),
        ("p", "7", "prompt p has no version '7': give one of 1."),
        ("p@1", "2", "asked for in two versions"),
    ],
)
def test_a_prompt_that_is_not_there(tmp_path: Path, name: str, version: str | None, words: str) -> None:
    put(tmp_path / "p.md", "one")
    with pytest.raises(BadInput, match=words):
        PromptLibrary.open(tmp_path).find(name, version)
