"""CONTRIBUTING.md is true: the places it names exist, and its layers are those that are checked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import heatbath
from heatbath import testing

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(heatbath.__file__).parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def _section(title: str) -> str:
    return TEXT.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_places_it_names_exist() -> None:
    lines = [line for line in _section("Where things go").splitlines() if line.startswith("| a")]
    rows = [line.split("|")[2:5] for line in lines if "created with the first one" not in line]
    assert len(rows) >= 12
    for places, example, kit in ([re.findall(r"`([^`]+)`", cell) for cell in row] for row in rows):
        folders = [SOURCE / place for place in places if place.endswith("/") and place != "schema/"]
        assert [folder for folder in folders if not folder.is_dir()] == []
        assert any((folder / example[0]).is_file() for folder in [SOURCE, *folders]), example[0]
        name = kit[0].removeprefix("heatbath.testing.")
        assert name in testing.__all__ or (ROOT / name).exists(), kit[0]


def test_its_layers_are_those_of_the_check() -> None:
    block = _section("Layers").split("```")[1].strip()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = settings["contracts"][0]["layers"]
    assert block.splitlines() == [layer.replace("(", "").replace(")", "") for layer in layers]
