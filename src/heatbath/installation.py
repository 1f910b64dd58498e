"""The installation of heatbath: its origin, its extras, and the command that installs more of it."""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

NAME = "heatbath"

EXTRAS: Mapping[str, str] = {
    "serve": "the OpenAI-compatible server and its dashboard",
    "postgres": "completions of the server in PostgreSQL",
    "otel": "traces and metrics of the server over OpenTelemetry",
    "steer": "grammar, embedding, safety and sentiment together",
    "grammar": "JSON schemas, regular expressions and grammars as fields",
    "embedding": "similarity of meaning as a potential",
    "safety": "a classifier of unsafe text as a potential",
    "sentiment": "a rating of sentiment as a potential",
    "retrieval": "an index of documents, evidence and citations with measured support",
    "policy": "rules with classifiers and meanings, and a gate",
    "ledger": "a Merkle log of decisions, with proofs",
    "timestamps": "RFC 3161 timestamps of a ledger's checkpoints",
    "trust": "calibrated confidence of answers and decisions",
    "pos": "parts of speech as tags of a sweep",
    "bench": "comparisons with other libraries in heatbath bench",
    "test": "the tests",
    "docs": "the documentation as a site",
    "dev": "format, types and layers of the code",
}
"""The purpose of each extra of pyproject.toml, in the order in which they are listed."""


@dataclass(frozen=True)
class ExtraReport:
    """One extra: `packages` are the versions of its packages, None where one is missing; `problems` are sentences."""

    name: str
    purpose: str
    packages: Mapping[str, str | None]
    problems: tuple[str, ...]

    @property
    def is_installed(self) -> bool:
        """True if every package of the extra is there, in a version that heatbath accepts."""
        return bool(self.packages) and not self.problems


def install_command(*extras: str) -> str:
    """Return the command that installs heatbath with `extras` into this environment, from where it came.

    A checkout is installed by its path, `.` inside it; a package from an index by its name.
    """
    suffix = f"[{','.join(extras)}]" if extras else ""
    target, options = find_source()
    return " ".join([_installer(), "install", *options, _quote(_add_suffix(target, suffix))])


def find_source() -> tuple[str, tuple[str, ...]]:
    """Return what `pip install` takes to install heatbath again, and its options: a path, a URL or the name."""
    checkout = find_checkout()
    if checkout is not None:
        return _format_path(checkout), ("-e",)
    origin = _read_direct_url()
    url = str(origin.get("url", ""))
    if not url:
        return NAME, ()
    if urlsplit(url).scheme == "file":
        path = Path(url2pathname(urlsplit(url).path))
        # A folder or a wheel that is gone is most often a checkout elsewhere.
        return (_format_path(path) if path.exists() else "."), ()
    vcs = origin.get("vcs_info")
    return (f"{vcs['vcs']}+{url}@{vcs.get('requested_revision') or vcs['commit_id']}" if vcs else url), ()


def find_checkout() -> Path | None:
    """Return the folder with the pyproject.toml of the source tree that heatbath is imported from, or None."""
    root = Path(__file__).resolve().parents[2]
    return root if _names_heatbath(root / "pyproject.toml") else None


def find_extras() -> list[ExtraReport]:
    """Return a report on every extra, in the order of `EXTRAS`."""
    requirements = {name: sorted(_find_requirements(name), key=lambda each: str(each.name)) for name in EXTRAS}
    return [_report_extra(name, parts) for name, parts in requirements.items()]


def find_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _report_extra(name: str, requirements: list[Any]) -> ExtraReport:
    packages = {each.name: find_version(each.name) for each in requirements}
    problems = [_describe_problem(each, packages[each.name]) for each in requirements]
    return ExtraReport(name, EXTRAS[name], packages, tuple(dict.fromkeys(filter(None, problems))))


def _describe_problem(requirement: Any, version: str | None) -> str:
    if version is None:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} {version} is installed, and {requirement.specifier} is needed"


def _find_requirements(extra: str) -> Iterator[Any]:
    """Yield the requirements of an extra on this platform, those of other extras that it takes in among them."""
    from packaging.requirements import Requirement

    for text in _list_requirements(extra):
        requirement = Requirement(text)
        if requirement.name == NAME:
            for inner in sorted(requirement.extras):
                yield from _find_requirements(inner)
        elif requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _list_requirements(extra: str) -> list[str]:
    """Read the requirements of an extra, from the source tree if there is one: its installation may be older."""
    checkout = find_checkout()
    if checkout is not None:
        project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return list(project["optional-dependencies"][extra])
    try:
        listed = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        return []
    return [text for text in listed if "extra ==" in text]


def _names_heatbath(path: Path) -> bool:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(content.get("project", {}).get("name") == NAME)


def _read_direct_url() -> dict[str, Any]:
    """Return the origin that the installer noted (PEP 610); empty for an index."""
    text = _read_distribution_file("direct_url.json")
    try:
        origin = json.loads(text)
    except ValueError:
        return {}
    return origin if isinstance(origin, dict) else {}


def _installer() -> str:
    return "uv pip" if _read_distribution_file("INSTALLER").strip() == "uv" else "pip"


def _read_distribution_file(name: str) -> str:
    try:
        return metadata.distribution(NAME).read_text(name) or ""
    except metadata.PackageNotFoundError:
        return ""


def _format_path(path: Path) -> str:
    return "." if path == Path.cwd() else str(path)


def _add_suffix(target: str, suffix: str) -> str:
    """Add extras to a name, a path or, in the form `name[extras] @ url`, to a URL."""
    return f"{NAME}{suffix} @ {target}" if suffix and "://" in target else target + suffix


def _quote(text: str) -> str:
    if os.name == "nt":
        return f'"{text}"' if " " in text else text
    return shlex.quote(text)
