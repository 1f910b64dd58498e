"""The upper bounds of pyproject.toml, for tools/newest.sh.

`lifted EXTRA…` prints the requirements of the package with these extras, upper bounds left out. `ahead EXTRA…` prints
what is installed beyond its bound. The bound of torch stays: a newer one has no build for processors alone here, and
pulls in CUDA.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

KEPT = {"torch"}
ROOT = Path(__file__).resolve().parent.parent


def requirements(extras: list[str]) -> Iterator[Requirement]:
    """What the package needs with `extras`, extras of its own resolved."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    pending, seen = [project["dependencies"], *(optional[extra] for extra in extras)], set(extras)
    while pending:
        for line in pending.pop():
            requirement = Requirement(line)
            if requirement.name != project["name"]:
                yield requirement
                continue
            pending += [optional[extra] for extra in requirement.extras - seen]
            seen |= requirement.extras


def lifted(requirement: Requirement) -> str:
    """The requirement as pip reads it, without its upper bound."""
    if requirement.name not in KEPT:
        parts = [part for part in requirement.specifier if not part.operator.startswith("<")]
        requirement.specifier = SpecifierSet(",".join(map(str, parts)))
    return str(requirement)


def ahead(requirement: Requirement) -> str | None:
    """A line on an installed package that is beyond its bound, or None."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return None
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"{requirement.name} {installed} is beyond {requirement.specifier}"


def main(command: str, *extras: str) -> None:
    """Print one line a requirement."""
    print_of = {"lifted": lifted, "ahead": ahead}[command]
    lines = {print_of(requirement) for requirement in requirements(list(extras))}
    print("\n".join(sorted(line for line in lines if line)))


if __name__ == "__main__":
    main(*sys.argv[1:])
