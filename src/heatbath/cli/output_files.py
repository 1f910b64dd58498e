"""The rule for every file or folder that a command writes: it has a place, and nothing is overwritten unasked."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from heatbath.errors import BadInput

Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there.")]


def validate_output_file(path: Path | None, kind: str, *, force: bool, inputs: Iterable[str] = ()) -> None:
    """Check, before any work, that a file of the format `kind` can be written to `path`; None is no file.

    Raises:
        OSError: the folder is not writable, or the disk is full.
        BadInput: the name has the suffix of another format, there is no such folder, the file exists and `force` is
            false, or it is one of `inputs`.
    """
    if path is None:
        return
    from heatbath.record.output_files import validate_suffix

    validate_suffix(path, kind)
    if not path.parent.is_dir():
        raise BadInput(f"there is no folder {path.parent} for {path.name}: create it, or choose another path.")
    if path.is_dir():
        raise BadInput(f"{path} is a folder: give the name of a file.")
    if any(os.path.exists(name) and path.exists() and path.samefile(name) for name in inputs):
        raise BadInput(f"{path} is read by this command: write to another file.")
    if os.path.lexists(path) and not force:
        raise BadInput(f"{path} exists: add --force to overwrite it, or choose another path.")
    _probe_folder(path.parent)


def validate_output_folder(folder: Path, contents: Iterable[str], *, force: bool) -> None:
    """Check, before any work, that a command can write to `folder`, which is created with it.

    Raises:
        OSError: it is not writable, or the disk is full.
        BadInput: it is a file, or holds one of `contents`, which are patterns, and `force` is false.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: give a folder for --out.")
    found = next((path for pattern in contents for path in folder.glob(pattern)), None)
    if found is not None and not force:
        raise BadInput(f"{found} exists: add --force to overwrite it, or give another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    _probe_folder(folder)


def _probe_folder(folder: Path) -> None:
    """Create a file and remove it: permissions do not tell of a disk that is full or mounted read-only."""
    probe = folder / ".heatbath-writable"
    probe.touch()
    probe.unlink()
