"""The cache of fetched and converted models, and atomic creation of folders in it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from heatbath.errors import ModelError

_STALE_SECONDS = 86_400.0
# Raised when a conversion writes something else than before, so that folders of an older one are not used. Version 2
# writes the tokenizer that the GGUF file names.
_CONVERSION_VERSION = 2


def cache_folder() -> Path:
    """Return `$HEATBATH_CACHE`, else `$XDG_CACHE_HOME/heatbath`, else `~/.cache/heatbath`."""
    own, shared = os.environ.get("HEATBATH_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own).expanduser()
    return (Path(shared) if shared else Path.home() / ".cache") / "heatbath"


def models_folder() -> Path:
    """Return the folder of models inside the cache; another one for each version of the conversion."""
    return _versioned_folder(_CONVERSION_VERSION)


def find_older_folders() -> list[Path]:
    """Return the folders of models that an older version converted and that are no longer used."""
    folders = [_versioned_folder(version) for version in range(1, _CONVERSION_VERSION)]
    return [folder for folder in folders if folder.is_dir()]


def _versioned_folder(version: int) -> Path:
    return cache_folder() / ("models" if version == 1 else f"models-v{version}")


def build_folder(target: Path, fill: Callable[[Path], None], *, replace: bool = False) -> Path:
    """Let `fill` write a temporary folder, then rename it to `target`; of two concurrent builds the first is kept.

    With `replace`, a folder that is there gives way as soon as the new one is complete. Raises `ModelError` when the
    cache cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_drafts(target)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ModelError(
            f"cannot write to {target.parent} ({error.strerror}): set HEATBATH_CACHE to a folder you can write to."
        ) from error
    try:
        fill(work)
        work.chmod(0o755)
        if replace:
            _move_aside(target)
        return _move_into_place(work, target)
    except OSError as error:
        raise ModelError(
            f"cannot write {target} ({error.strerror or error}): free some space or move the cache."
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _remove_stale_drafts(target: Path) -> None:
    """Remove drafts of this folder that a killed process left a day ago or longer."""
    for draft in target.parent.glob(f".{target.name}-*"):
        if time.time() - draft.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(draft, ignore_errors=True)


def _move_aside(target: Path) -> None:
    """Remove a folder by renaming it first: a process that reads it goes on, and none finds half of it."""
    if target.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        target.rename(aside / target.name)
        shutil.rmtree(aside, ignore_errors=True)


def _move_into_place(work: Path, target: Path) -> Path:
    try:
        work.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    return target
