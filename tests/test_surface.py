"""The public surface: few names, sorted, all of them there, and no heavy import behind the first line."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

import heatbath

HEAVY = ("torch", "transformers", "numba", "pyarrow", "matplotlib", "scipy", "pymbar")


def test_names_are_few_and_sorted() -> None:
    assert len(heatbath.__all__) <= 30
    assert heatbath.__all__ == sorted(set(heatbath.__all__))


@pytest.mark.parametrize("name", heatbath.__all__)
def test_every_name_resolves_and_says_what_it_is(name: str) -> None:
    value = getattr(heatbath, name)
    assert value.__module__.startswith("heatbath.")
    assert value.__doc__


def test_dir_lists_the_surface() -> None:
    assert set(heatbath.__all__) <= set(dir(heatbath))


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(heatbath.__file__).read_text(encoding="utf-8"))
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name for node in guard.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(heatbath.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'statte'"):
        heatbath.statte  # noqa: B018


def test_version_comes_from_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"1.2.3 of {name}")
    assert heatbath.__version__ == "1.2.3 of heatbath"


def test_a_source_tree_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert heatbath.__version__ == "0+source"


def _loaded_after(code: str) -> set[str]:
    report = "import sys; print(*(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    ["import heatbath", "from heatbath.cli.main import main; main(['--help'])"],
    ids=["import", "help"],
)
def test_start_imports_nothing_heavy(code: str) -> None:
    assert not _loaded_after(code) & set(HEAVY)


def test_the_probe_for_heavy_imports_sees_one() -> None:
    assert "scipy" in _loaded_after("import scipy")
