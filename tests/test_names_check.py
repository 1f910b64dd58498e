"""The check of imports, names and docstrings: red for each kind of breach, green for a clean package."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "names.py"
CLEAN = {
    "base": "from abc import ABC\n\n\nclass Sampler(ABC):\n    pass\n",
    "greedy": (
        '"""Greedy decoding."""\n\nfrom pkg.base import Sampler\n\n\n'
        'class Greedy(Sampler):\n    """Pick the state of least energy."""\n\n'
        "    @property\n    def is_finished(self):\n        return True\n\n"
        "    def _draw_token(self, seed):\n        return seed\n"
    ),
    "windows.__init__": "from pkg.windows.top_k import top_k\n",
    "windows.top_k": "from pkg.base import Sampler\n\n\ndef top_k(feed):\n    return feed\n",
}
Check = Callable[..., list[tuple[str, str]]]


@pytest.fixture(scope="module")
def names() -> ModuleType:
    spec = importlib.util.spec_from_file_location("names_tool", TOOL)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in {"__init__": "", **files}.items():
        path = folder / "src" / "pkg" / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def check(names: ModuleType, tmp_path: Path) -> Check:
    """Return a function that checks CLEAN with more files: (kind, key) of every finding."""

    def run(files: Mapping[str, str], allowed: Mapping[str, Mapping[str, str]] | None = None) -> list[tuple[str, str]]:
        _write(tmp_path, {**CLEAN, **files})
        return [finding[:2] for finding in names.find_breaches(names.read_modules(tmp_path), allowed or {})]

    return run


def test_a_clean_package_passes(check: Check) -> None:
    assert check({}) == []


@pytest.mark.parametrize(
    ("imports", "back"),
    [
        ("from pkg.b import B\n", "import pkg.a\n"),
        ("from pkg import b\n", "from pkg.a import A\n"),
        ("from . import b\n", "from .a import A\n"),
        ("try:\n    import pkg.b\nexcept ImportError:\n    pass\n", "class B:\n    from pkg.a import A\n"),
    ],
)
def test_a_cycle_between_files(check: Check, imports: str, back: str) -> None:
    assert check({"a": imports, "b": back}) == [("cycles", "pkg.a -> pkg.b -> pkg.a")]


def test_a_cycle_has_no_exceptions(check: Check) -> None:
    files = {"a": "import pkg.b\n", "b": "import pkg.a\n"}
    assert ("cycles", "pkg.a -> pkg.b -> pkg.a") in check(files, {"cycles": {"pkg.a -> pkg.b -> pkg.a": "because"}})


def test_a_cycle_through_the_file_of_a_package(check: Check) -> None:
    assert check({"windows.top_p": "from pkg.windows import top_q\n"}) == []
    files = {"windows.__init__": "from pkg.windows.top_p import top_p\n"}
    assert check(files) == [("cycles", "pkg.windows -> pkg.windows.top_p -> pkg.windows")]


def test_an_import_inside_a_function_that_closes_a_cycle(check: Check) -> None:
    files = {"a": "def run_b():\n    from pkg.b import b\n    b()\n", "b": "import pkg.a\n"}
    assert check(files) == [("imports", "pkg.a -> pkg.b")]
    assert check(files, {"imports": {"pkg.a -> pkg.b": "b is chosen at run time"}}) == []


def test_imports_inside_functions_may_wait_for_one_another_no_more_than_others(check: Check) -> None:
    files = {"a": "def run_b():\n    import pkg.b\n", "b": "def run_a():\n    import pkg.a\n"}
    assert check(files) == [("imports", "pkg.a -> pkg.b"), ("imports", "pkg.b -> pkg.a")]


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_imports_for_types_alone_close_no_cycle(check: Check, test: str) -> None:
    text = f"import typing\nfrom typing import TYPE_CHECKING\n\nif {test}:\n    import pkg.b\n"
    assert check({"a": text, "b": "import pkg.a\n"}) == []
    assert check({"a": f"{text}else:\n    import pkg.b\n"}) == [("cycles", "pkg.a -> pkg.b -> pkg.a")]


def test_two_public_classes_of_one_name(check: Check) -> None:
    assert check({"a": "class Greedy:\n    pass\n"}) == [("classes", "Greedy")]
    assert check({"a": "class _Rows:\n    pass\n", "b": "class _Rows:\n    pass\n"}) == []


@pytest.mark.parametrize("name", ["utils", "windows.rows", "_helpers", "drawn", "offered", "menu.__init__"])
def test_a_module_name_that_does_not_say_what_it_holds(check: Check, name: str) -> None:
    key = f"pkg.{name.removesuffix('.__init__')}"
    assert check({name: ""}) == [("modules", key)]
    assert check({name: ""}, {"modules": {key: "the protocol's own word"}}) == []


def test_base_is_a_name_for_abstract_types_alone(check: Check) -> None:
    assert check({"windows.base": "class Window:\n    pass\n"}) == [("modules", "pkg.windows.base")]
    protocol = "from typing import Protocol\n\n\nclass Window(Protocol[int]):\n    pass\n"
    assert check({"windows.base": protocol}) == []
    method = (
        "import pkg.base as b\n\n\nclass Window(b.Sampler):\n    @abstractmethod\n    def cut(self):\n        pass\n"
    )
    assert check({"windows.base": method}) == []


@pytest.mark.parametrize("name", ["drawn", "_kept", "masked", "told", "began"])
@pytest.mark.parametrize("kind", ["def {}():", "async def {}():", "class A:\n    def {}(self):"])
def test_a_function_that_is_a_participle(check: Check, name: str, kind: str) -> None:
    indent = "        " if "\n" in kind else "    "
    key = f"pkg.a.{'A.' if 'class' in kind else ''}{name}"
    assert check({"a": f"{kind.format(name)}\n{indent}return 1\n"}) == [("names", key)]


def test_a_class_and_a_nested_function_that_are_participles(check: Check) -> None:
    text = "class Bounded:\n    pass\n\n\ndef run():\n    def held():\n        pass\n"
    assert check({"a": text}) == [("names", "pkg.a.Bounded"), ("names", "pkg.a.run.held")]


@pytest.mark.parametrize("name", ["kept_mass", "feed", "exceed", "embed", "seed", "is_drawn", "RequestFailed", "rate"])
def test_names_that_are_no_participle_alone(check: Check, name: str) -> None:
    assert check({"a": f"def {name}():\n    pass\n"}) == []


def test_a_property_may_be_an_adjective_of_the_allow_list(check: Check) -> None:
    text = "class A:\n    @property\n    def required(self):\n        return True\n"
    adjectives = {"adjectives": {"required": "reads as a statement"}}
    assert check({"a": text}) == [("names", "pkg.a.A.required")]
    assert check({"a": text}, adjectives) == []
    method = text.replace("    @property\n", "")
    assert ("names", "pkg.a.A.required") in check({"a": method}, adjectives)


@pytest.mark.parametrize("word", ["What", "Who", "Where", "Which", "How", "Whether", "When", "Whose", "what"])
def test_a_docstring_that_opens_with_a_question_word(check: Check, word: str) -> None:
    doc = f'"""{word} a token is."""\n'
    text = f"{doc}\n\ndef draw():\n    {doc}\n\nclass A:\n    {doc}"
    assert check({"a": text}) == [("docstrings", key) for key in ("pkg.a", "pkg.a.A", "pkg.a.draw")]
    assert check({"a": text.replace(word, "Whatever")}) == []


def test_an_exception_must_match_and_give_a_reason(check: Check) -> None:
    assert check({}, {"modules": {"pkg.rows": "gone"}}) == [("unused", "pkg.rows")]
    assert check({}, {"adjectives": {"cached": "gone"}}) == [("unused", "cached")]
    assert check({"rows": ""}, {"modules": {"pkg.rows": " "}}) == [("unused", "pkg.rows")]


def test_the_exit_code_and_the_output(
    names: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = tmp_path / "allowed.toml"
    allowed.write_text('[modules]\n"pkg.rows" = "the database\'s own word"\n', encoding="utf-8")
    monkeypatch.setattr(names, "ALLOWED", allowed)
    monkeypatch.setattr(sys, "argv", ["names.py", "--root", str(tmp_path)])
    _write(tmp_path, {**CLEAN, "rows": ""})
    assert names.main() == 0
    assert capsys.readouterr().out == "names: 6 files, 0 findings, 1 exceptions\n"
    _write(tmp_path, {"utils": ""})
    assert names.main() == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{names.RULES['modules']}: 1",
        "  pkg.utils",
        "names: 7 files, 1 findings, 1 exceptions",
    ]


@pytest.mark.slow  # .ci/checks finds the same
def test_the_allow_list_has_no_stale_entries_and_a_reason_for_each(names: ModuleType) -> None:
    allowed = names.tomllib.loads(names.ALLOWED.read_text(encoding="utf-8"))
    breaches = names.find_breaches(names.read_modules(names.ROOT), allowed)
    assert [finding for finding in breaches if finding.kind == "unused"] == []
