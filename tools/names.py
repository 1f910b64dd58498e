"""Check imports, names and docstrings against the rules of CONTRIBUTING.md. Exit code 1 on a finding.

Exceptions stand in tools/names-allowed.toml, each with its reason. Run: python tools/names.py [--root FOLDER]
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = Path(__file__).resolve().with_name("names-allowed.toml")

QUESTION_WORDS = "what who whom whose where which how whether when"
VAGUE_MODULES = """
about answers book common core data extra follow general growth helper helpers info insides items late live made
menu misc names page places rows run separate stuff things through together told totals trouble util utils words"""
IRREGULAR_PARTICIPLES = """
began begun bent born broken brought built came caught chosen done drawn drew driven fallen fed forbidden found frozen
gave given gone grew grown heard held hidden kept knew known laid led left lost made meant met overridden said saw seen
sent shown sought spent spoken taken taught thrown told took torn understood unknown unseen went won written wrote"""
NOT_PARTICIPLES = "bed bleed breed deed embed exceed feed heed hundred need proceed red seed shed speed succeed weed"

# The rule behind each kind of finding. The allow-list has a section for each from "imports" to "docstrings".
RULES = {
    "cycles": "files import one another (no exceptions)",
    "imports": "an import inside a function closes a cycle",
    "classes": "public classes share a name",
    "modules": "a module's name does not say what it holds",
    "names": "a function or class is named by a participle alone",
    "docstrings": "a docstring opens with a question word",
    "unused": "an exception matches nothing, or gives no reason",
}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Module(NamedTuple):
    """One file of a package: its dotted name and its syntax tree."""

    name: str
    tree: ast.Module
    is_package: bool


class Finding(NamedTuple):
    """One breach: the kind (a key of RULES), the key that an exception would have, and the details to print."""

    kind: str
    key: str
    detail: str = ""


def read_modules(root: Path) -> list[Module]:
    """Parse every file of the packages below `root`/src, sorted by path."""
    modules = []
    for path in sorted((root / "src").rglob("*.py")):
        name = ".".join(path.relative_to(root / "src").with_suffix("").parts).removesuffix(".__init__")
        modules.append(Module(name, ast.parse(path.read_text(encoding="utf-8")), path.stem == "__init__"))
    return modules


def read_imports(module: Module, known: set[str]) -> tuple[set[str], set[str]]:
    """Return the files that `module` imports when it is imported, and those that only its functions import.

    `from package import name` counts as `package.name` where that is a file, else as the package's `__init__`.
    Imports under `if TYPE_CHECKING` do not count, nor do the packages on the way to a submodule.
    """
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    loaded, deferred = set[str](), set[str]()

    def visit(node: ast.AST, into: set[str]) -> None:
        if isinstance(node, ast.Import):
            into.update({alias.name for alias in node.names} & known)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            names = {f"{base}.{alias.name}" for alias in node.names}
            into.update(names & known, {base} & known if names - known else ())
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            visit(ast.Module(node.orelse, []), into)
        else:
            inner = deferred if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else into
            for child in ast.iter_child_nodes(node):
                visit(child, inner)

    visit(module.tree, loaded)
    return loaded - {module.name}, deferred - loaded - {module.name}


def find_path(graph: dict[str, set[str]], start: str, end: str) -> list[str] | None:
    """Return a shortest path of at least one edge from `start` to `end`, or None."""
    paths, seen = [[start]], set[str]()
    for path in paths:
        for target in sorted(graph[path[-1]] - seen):
            if target == end:
                return [*path, target]
            seen.add(target)
            paths.append([*path, target])
    return None


def check_imports(modules: list[Module]) -> Iterator[Finding]:
    """Find cycles of module-level imports, one for each set of files, and function-level imports that close a cycle."""
    known = {module.name for module in modules}
    imports = {module.name: read_imports(module, known) for module in modules}
    loaded = {name: pair[0] for name, pair in imports.items()}
    every = {name: pair[0] | pair[1] for name, pair in imports.items()}
    seen: set[str] = set()
    for name in sorted(known):
        if name not in seen and (path := find_path(loaded, name, name)):
            members = {other for other in known if find_path(loaded, name, other) and find_path(loaded, other, name)}
            seen |= members
            yield Finding("cycles", " -> ".join(path), f"({len(members)} files: {', '.join(sorted(members))})")
    for name, (_, deferred) in imports.items():
        for target in sorted(deferred):
            if path := find_path(every, target, name):
                yield Finding("imports", f"{name} -> {target}", f"(and back: {' -> '.join(path)})")


def list_definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Definition]]:
    """Yield every function, method and class below `node` with its dotted name."""
    for child in ast.iter_child_nodes(node):
        name = f"{prefix}.{child.name}" if isinstance(child, Definition) else prefix
        if isinstance(child, Definition):
            yield name, child
        yield from list_definitions(child, name)


def is_participle(name: str) -> bool:
    """Return whether `name` is one word, and that word a past participle (or an irregular past tense)."""
    word = name.strip("_").lower()
    is_one_word = re.fullmatch("_*[A-Za-z][a-z]+_*", name) is not None and word not in NOT_PARTICIPLES.split()
    return is_one_word and (word in IRREGULAR_PARTICIPLES.split() or word.endswith("ed"))


def check_module_name(module: Module) -> Iterator[Finding]:
    """Find a vague word, a participle, or a `base` that holds no abstract type."""
    word = module.name.split(".")[-1].strip("_")
    abstract = re.search(r"^class .*\b(ABC|Protocol)\b.*:$|@abstractmethod$", ast.unparse(module.tree), re.MULTILINE)
    if word in VAGUE_MODULES.split() or is_participle(word) or (word == "base" and not abstract):
        yield Finding("modules", module.name, "(no abstract type in it)" if word == "base" else "")


def check_definitions(module: Module, adjectives: Collection[str]) -> Iterator[Finding]:
    """Find names that are participles and docstrings that open with a question word."""
    nodes: list[tuple[str, Definition | ast.Module]] = [(module.name, module.tree)]
    for key, node in [*nodes, *list_definitions(module.tree, module.name)]:
        line = (ast.get_docstring(node) or "").partition("\n")[0]
        if re.match(rf"({QUESTION_WORDS.replace(' ', '|')})\b", line, re.IGNORECASE):
            yield Finding("docstrings", key, f'("{line}")')
        if isinstance(node, Definition) and is_participle(node.name):
            is_property = any(ast.unparse(item).endswith("property") for item in node.decorator_list)
            yield Finding("adjectives", node.name) if is_property and node.name in adjectives else Finding("names", key)


def check_class_names(modules: list[Module]) -> Iterator[Finding]:
    """Find public classes, at the top level of their files, whose names occur in more than one file."""
    pairs = {(c.name, module.name) for module in modules for c in module.tree.body if isinstance(c, ast.ClassDef)}
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1 and not name.startswith("_"):
            yield Finding("classes", name, f"(in {', '.join(sorted(file for other, file in pairs if other == name))})")


def find_breaches(modules: list[Module], allowed: dict[str, dict[str, str]]) -> list[Finding]:
    """Return the findings that no exception covers, and the exceptions that cover none or give no reason."""
    found = {*check_imports(modules), *check_class_names(modules)}
    for module in modules:
        found |= {*check_module_name(module), *check_definitions(module, allowed.get("adjectives", {}))}
    keys = {(finding.kind, finding.key) for finding in found}
    breaches = [f for f in found if f.kind == "cycles" or f.key not in allowed.get(f.kind, {})]
    entries = [(kind, key, reason) for kind, group in allowed.items() for key, reason in group.items()]
    unused = [entry[:2] for entry in entries if entry[:2] not in keys or not entry[2].strip()]
    return sorted([*breaches, *(Finding("unused", key, f"(in [{kind}])") for kind, key in unused)])


def main() -> int:
    """Print the findings by kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder that holds src/ (default: this repository)")
    modules = read_modules(parser.parse_args().root)
    allowed = tomllib.loads(ALLOWED.read_text(encoding="utf-8"))
    breaches = find_breaches(modules, allowed)
    for kind, rule in RULES.items():
        if lines := [f"  {f.key} {f.detail}".rstrip() for f in breaches if f.kind == kind]:
            print(f"{rule}: {len(lines)}", *lines, sep="\n")
    print(f"names: {len(modules)} files, {len(breaches)} findings, {sum(map(len, allowed.values()))} exceptions")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
