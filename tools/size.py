"""Print the size of each package against the budgets of CONTRIBUTING.md. Exit code 1 on a breach.

Function lengths leave out docstrings. Run: python tools/size.py [--longest 8]
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES, FUNCTION_LINES, FUNCTION_P90, PARAMETERS = 400, 60, 30, 5
SHORT_FILE_LINES = 40  # shorter files are listed, __init__.py aside: a file is a topic, not a function


@dataclass(frozen=True)
class Function:
    """One function: its place, its lines without the docstring, and its parameters besides self."""

    where: str
    lines: int
    parameters: int


@dataclass(frozen=True)
class File:
    """One file with its functions."""

    path: Path
    lines: int
    functions: tuple[Function, ...]

    @property
    def is_short(self) -> bool:
        """True below SHORT_FILE_LINES lines, except for `__init__.py`."""
        return self.lines < SHORT_FILE_LINES and self.path.name != "__init__.py"

    @property
    def package(self) -> str:
        """`heatbath/ensemble`, `tests` and so on."""
        parts = self.path.relative_to(ROOT).parts
        return parts[0] if parts[0] != "src" else "/".join(parts[1:3]) if len(parts) > 3 else "heatbath"


def read(path: Path) -> File:
    """Parse one file."""
    text = path.read_text(encoding="utf-8")
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return File(path, text.count("\n"), tuple(_function(path, node) for node in nodes))


def _function(path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Function:
    first = node.body[0]
    documented = ast.get_docstring(node, clean=False) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
    return Function(where, lines, len([name for name in names if name not in ("self", "cls")]))


def p90(values: list[int]) -> int:
    """The smallest value that nine in ten do not exceed."""
    return sorted(values)[-(-9 * len(values) // 10) - 1] if values else 0


def row(name: str, files: list[File]) -> str:
    """One line of the table."""
    lengths = [f.lines for f in files]
    functions = [f.lines for file in files for f in file.functions]
    middle = statistics.median(functions) if functions else 0
    return (
        f"{name:<22}{len(files):>6}{sum(f.is_short for f in files):>7}{sum(lengths):>8}"
        f"{statistics.median(lengths):>9.0f}{max(lengths):>9}"
        f"{len(functions):>11}{middle:>8.0f}{p90(functions):>6}{max(functions, default=0):>6}"
    )


def breaches(files: list[File]) -> list[str]:
    """Return one line for each breach in the package; tests are only counted."""
    functions = [f for file in files for f in file.functions]
    found = [f"{f.path.relative_to(ROOT)}: {f.lines} lines > {FILE_LINES}" for f in files if f.lines > FILE_LINES]
    found += [f"{f.where}: {f.lines} lines > {FUNCTION_LINES}" for f in functions if f.lines > FUNCTION_LINES]
    ninth = p90([f.lines for f in functions])
    return found + ([f"nine in ten functions: {ninth} lines > {FUNCTION_P90}"] if ninth > FUNCTION_P90 else [])


def short_files(files: list[File]) -> list[str]:
    """One line for each package that has short files, with their paths below the package and their lines."""
    lines = []
    for package in sorted({file.package for file in files if file.is_short}):
        group = [file for file in files if file.package == package and file.is_short]
        paths = [f"{file.path.relative_to(ROOT / 'src' / package).as_posix()} {file.lines}" for file in group]
        lines.append(f"{package} ({len(group)}): {', '.join(paths)}")
    return lines


def main() -> int:
    """Print the table, the short files, the longest functions and the breaches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--longest", type=int, default=8, help="how many of the longest functions to list")
    longest = parser.parse_args().longest
    package = [read(path) for path in sorted((ROOT / "src").rglob("*.py"))]
    tests = [read(path) for path in sorted((ROOT / "tests").rglob("*.py"))]
    print(
        f"{'':<22}{'files':>6}{f'<{SHORT_FILE_LINES}':>7}{'lines':>8}{'median':>9}{'largest':>9}"
        f"{'functions':>11}{'median':>8}{'p90':>6}{'max':>6}"
    )
    for name in sorted({file.package for file in package}):
        print(row(name, [file for file in package if file.package == name]))
    print(row("package", package))
    if tests:
        print(row("tests", tests))
    print(
        f"\nfiles under {SHORT_FILE_LINES} lines: {sum(f.is_short for f in package)}", *short_files(package), sep="\n  "
    )
    functions = [f for file in package for f in file.functions]
    print(f"\nlongest functions (budget {FUNCTION_LINES} lines, nine in ten within {FUNCTION_P90}):")
    for function in sorted(functions, key=lambda f: -f.lines)[:longest]:
        print(f"  {function.lines:>3}  {function.where}")
    many = [f for f in functions if f.parameters > PARAMETERS]
    print(f"\nfunctions with more than {PARAMETERS} parameters: {len(many)}")
    for function in many:
        print(f"  {function.parameters:>3}  {function.where}")
    over = breaches(package)
    print("\nover budget:" if over else "\nwithin budget", *over, sep="\n  " if over else "")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
