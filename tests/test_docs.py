"""The documentation keeps up with the code: names, commands, tests and numbers."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import heatbath
from heatbath.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_public_name_is_in_the_interface_page() -> None:
    """Under the path that one imports it from, and every path on the page can be imported."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: (.+)$", page, re.MULTILINE))
    # A function named like its module is shown under the module's path, or the page would show the module.
    public = {name: getattr(heatbath, name) for name in heatbath.__all__}
    hidden = [name for name, value in public.items() if not {f"heatbath.{name}", f"{value.__module__}.{name}"} & shown]
    assert hidden == []
    for path in shown:
        package, _, name = path.rpartition(".")
        value = getattr(importlib.import_module(package), name)
        assert callable(value) or value.__doc__, f"{path} is a module, or has no documentation"


def test_the_commands_page_is_what_help_prints() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "cli_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_identity_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    sections = page.split("\n## ")[1:]
    assert len([section for section in sections if section[0].isdigit()]) == 10
    for section in sections:
        named = TEST_NAME.findall(section)
        assert named, f"no test is named under {section.splitlines()[0]!r}"
        for path, function in named:
            assert function in _functions(ROOT / path), f"{path} has no {function}"


def _functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def _commands(text: str) -> set[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return {match for block in blocks for match in re.findall(r"\bheatbath ([a-z]+)", block)}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_commands_in_examples_exist(page: Path) -> None:
    assert _commands(page.read_text(encoding="utf-8")) <= set(COMMANDS)


def test_the_readme_has_the_two_commands() -> None:
    assert "```sh\npip install . && heatbath sweep\n```" in README
    assert "```sh\npip install '.[test]' && pytest\n```" in README


def test_the_readme_lists_nine_files_that_exist() -> None:
    section = README.split("## Read the code in this order")[1].split("\n## ")[0]
    files = re.findall(r"^\d\. `([^`]+)`: .+", section, re.MULTILINE)
    assert len(files) == 9
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_links_between_files_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def _tables_with_numbers(text: str) -> list[str]:
    """Sections of a page that hold a table with a decimal number or a percentage in a cell."""
    numbered = re.compile(r"^\|.*\d+(\.\d+|\s*%).*\|", re.MULTILINE)
    return [section for section in re.split(r"^#+ ", text, flags=re.MULTILINE) if numbered.search(section)]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_a_table_of_numbers_has_its_command_beside_it(page: Path) -> None:
    command = re.compile(r"heatbath [a-z]+|pytest|python tools/")
    for section in _tables_with_numbers(page.read_text(encoding="utf-8")):
        assert command.search(section), f"{page.name}: no command in {section.splitlines()[0]!r}"


def test_the_search_for_numbers_finds_some() -> None:
    assert _tables_with_numbers("# Speed\n\n| state | 1.27 |\n") != []
