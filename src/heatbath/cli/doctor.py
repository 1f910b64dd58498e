"""`heatbath doctor`: what is installed, what the machine offers, and what is amiss."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

EXTRAS = {"pos": "spacy", "test": "pytest", "docs": "mkdocs"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check this installation and machine.

    Each problem is one sentence; the exit code is 1 if there is any.
    """
    report = collect_report()
    problems = report["problems"]
    typer.echo(json.dumps(report) if as_json else "\n".join(_render_report(report)))
    if problems:
        raise typer.Exit(1)


def collect_report() -> dict[str, Any]:
    """Machine, model cache, extras, and a list of problems, each a sentence."""
    from heatbath.bench.machine import describe_machine, find_version
    from heatbath.models.hub.model_store import models_folder

    cache = models_folder()
    machine = describe_machine()
    return {
        "machine": machine,
        "cache": {"folder": str(cache), "writable": _is_writable(cache), "models": _find_model_folders()},
        "extras": {extra: find_version(package) for extra, package in EXTRAS.items()},
        "problems": list(_find_problems(machine, cache)),
    }


def _find_model_folders() -> dict[str, str | None]:
    from heatbath.models.hub import catalog

    folders = {name: catalog.find_folder(name) for name in catalog.CATALOG}
    return {name: None if folder is None else str(folder) for name, folder in folders.items()}


def _is_writable(folder: Path) -> bool:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK)


def _find_problems(machine: dict[str, Any], cache: Path) -> Iterator[str]:
    if not _is_writable(cache):
        yield f"The model cache {cache} cannot be written: change its permissions."
    if machine["threads"] > machine["cores"]:
        yield f"PyTorch runs {machine['threads']} threads on {machine['cores']} cores: set OMP_NUM_THREADS."
    for package, found in machine["packages"].items():
        if found is None:
            yield f"{package} is not installed: run pip install heatbath again."


def _render_report(report: dict[str, Any]) -> Iterator[str]:
    machine, cache = report["machine"], report["cache"]
    yield f"heatbath      {machine['heatbath']}, Python {machine['python']}, {machine['system']}"
    yield f"processor     {machine['cpu']} ({' '.join(machine['cpu_features']) or 'no known vector extensions'})"
    yield f"cores         {machine['cores']}, of which PyTorch uses {machine['threads']}"
    yield f"GPU           {machine['gpu'] or 'none'}"
    yield f"packages      {', '.join(f'{name} {found}' for name, found in machine['packages'].items())}"
    yield f"model cache   {cache['folder']} ({'writable' if cache['writable'] else 'NOT writable'})"
    for name, folder in cache["models"].items():
        yield f"  {name:<18}{folder or f'not fetched (heatbath models pull {name})'}"
    extras = (f"{name}: {found or 'not installed'}" for name, found in report["extras"].items())
    yield f"extras        {', '.join(extras)}"
    yield from (f"problem       {sentence}" for sentence in report["problems"])
    yield "something is amiss" if report["problems"] else "all well"
