"""One writer at a time in an index folder, and the state in which a writer finds it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from heatbath.errors import BadInput
from heatbath.retrieval.manifest import MANIFEST_FILE

LOCK_FILE = "writer.lock"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of an index folder, which the system releases even if this process is killed.

    Raises:
        BadInput: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_FILE, "a+b") as file:
        try:
            _lock(file)
        except OSError as error:
            raise BadInput(f"{folder} is being changed by another process: wait until it has ended.") from error
        yield


def validate_new_folder(folder: Path) -> None:
    """Check that a folder without a manifest can become an index: it is missing, empty, or the start of one.

    Raises:
        BadInput: it is a file, or holds other files.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file: give a folder for the index.", param="folder")
    others = [each.name for each in folder.iterdir() if not _is_ours(each.name)] if folder.exists() else []
    if others:
        raise BadInput(
            f"{folder} holds files that are no index, such as {min(others)}: give another folder, "
            "and the files to index after it.",
            param="folder",
        )


def _is_ours(name: str) -> bool:
    return name in {MANIFEST_FILE, LOCK_FILE, f".{MANIFEST_FILE}.part"}


def _lock(file: IO[bytes]) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
