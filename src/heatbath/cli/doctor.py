"""`heatbath doctor`: a report on the installation and the machine, or on a model, with problems and their remedies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from heatbath.cli.model_report import report_model
from heatbath.cli.options import Device, Dtype
from heatbath.installation import ExtraReport, find_extras, install_command

_MAX_DETAILS = 3


def doctor(
    model: Annotated[
        str | None, typer.Argument(help="Check this model instead: a name, hub id, folder or .gguf file.")
    ] = None,
    *,
    dtype: Dtype = None,
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check this installation and machine, or a model.

    Prints versions, processor, GPU, model cache and extras. For a model: whether
    its weights fit its configuration, its cache and its tokenizer work, and how
    far its log-probabilities are from those of transformers in float32. The exit
    code is 1 if there is a problem.
    """
    if model is not None:
        if not report_model(model, dtype=dtype, device=device, as_json=as_json):
            raise typer.Exit(1)
        return
    report = collect_report()
    problems = report["problems"]
    typer.echo(json.dumps(report) if as_json else "\n".join(_render_report(report)))
    if problems:
        raise typer.Exit(1)


def collect_report() -> dict[str, Any]:
    """Collect machine, model cache, extras, and a list of problems, one sentence each."""
    from heatbath.bench.machine import describe_machine
    from heatbath.models.hub.model_store import models_folder

    cache = models_folder()
    machine = describe_machine()
    return {
        "machine": machine,
        "cache": {"folder": str(cache), "writable": _is_writable(cache), "models": _find_model_folders()},
        "extras": {extra.name: _describe_extra(extra) for extra in find_extras()},
        "problems": list(_find_problems(machine, cache)),
    }


def _describe_extra(extra: ExtraReport) -> dict[str, Any]:
    return {
        "installed": extra.is_installed,
        "purpose": extra.purpose,
        "packages": dict(extra.packages),
        "problems": list(extra.problems),
    }


def _render_extra(extra: dict[str, Any]) -> str:
    packages = [f"{name} {version}" for name, version in extra["packages"].items() if version is not None]
    details = packages if extra["installed"] else extra["problems"] if packages else []
    shown = [*details[:_MAX_DETAILS], *(["…"] if len(details) > _MAX_DETAILS else [])]
    state = "installed" if extra["installed"] else "not installed"
    return f"{state:<15}{extra['purpose']}{_in_parentheses(shown)}"


def _in_parentheses(words: list[str]) -> str:
    return f" ({', '.join(words)})" if words else ""


def _find_model_folders() -> dict[str, str | None]:
    from heatbath.models.hub import catalog

    folders = {name: catalog.find_folder(name) for name in catalog.CATALOG}
    return {name: None if folder is None else str(folder) for name, folder in folders.items()}


def _is_writable(folder: Path) -> bool:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK)


def _find_problems(machine: dict[str, Any], cache: Path) -> Iterator[str]:
    if not _is_writable(cache):
        yield f"The model cache {cache} is not writable: change its permissions."
    if machine["threads"] > machine["cores"]:
        yield f"PyTorch uses {machine['threads']} threads on {machine['cores']} cores: set OMP_NUM_THREADS."
    for package, version in machine["packages"].items():
        if version is None:
            yield f"{package} is not installed: run {install_command()}."


def _render_report(report: dict[str, Any]) -> Iterator[str]:
    machine, cache = report["machine"], report["cache"]
    yield f"heatbath      {machine['heatbath']}, Python {machine['python']}, {machine['system']}"
    yield f"processor     {machine['cpu']} ({' '.join(machine['cpu_features']) or 'no known vector extensions'})"
    yield f"cores         {machine['cores']}, of which PyTorch uses {machine['threads']}"
    yield f"GPU           {machine['gpu'] or 'none'}"
    yield f"packages      {', '.join(f'{name} {version}' for name, version in machine['packages'].items())}"
    yield f"model cache   {cache['folder']} ({'writable' if cache['writable'] else 'NOT writable'})"
    for name, folder in cache["models"].items():
        yield f"  {name:<18}{folder or f'not downloaded (heatbath models pull {name})'}"
    yield f"extras        installed by {install_command('NAME')}"
    yield from (f"  {name:<12}{_render_extra(extra)}" for name, extra in report["extras"].items())
    yield from (f"problem       {sentence}" for sentence in report["problems"])
    yield "problems found" if report["problems"] else "no problems found"
