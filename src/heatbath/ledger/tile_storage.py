"""The published files of a log: tiles and the checkpoint, in a folder that any web server can serve."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

CHECKPOINT = "checkpoint"


class TileStorage(Protocol):
    """Files of a log by their path: tiles (`TileName`) and "checkpoint"."""

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, None if there is none."""

    def write(self, files: Mapping[str, bytes]) -> None:
        """Store files durably, each whole or not at all, in any order; files of the same path are replaced."""

    def remove_partial(self, full: str) -> None:
        """Remove the partial tiles that became the full tile of this path."""

    def list_paths(self) -> Iterator[str]:
        """Yield the path of every file."""

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Hold the right to write, which one process has at a time."""

    def close(self) -> None:
        """Give back what reading and writing needs."""


class FileOperations:
    """The operations on files that a log is written by; tests replace it to let each of them fail."""

    def make_folder(self, folder: Path) -> None:
        """Create a folder with those above it."""
        folder.mkdir(parents=True, exist_ok=True)

    def write_temporary(self, path: Path, content: bytes) -> None:
        """Write a file and wait until it is on the disk."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, temporary: Path, path: Path) -> None:
        """Put a file in the place of another."""
        os.replace(temporary, path)

    def sync_folder(self, folder: Path) -> None:
        """Wait until the names in a folder are on the disk."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink(missing_ok=True)


class TileFolder:
    """The files of a log in a folder."""

    def __init__(self, folder: Path, operations: FileOperations | None = None) -> None:
        self.folder = folder
        self._operations = operations or FileOperations()

    def read(self, path: str) -> bytes | None:
        """Return the content of a file, None if there is none."""
        try:
            return (self.folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, files: Mapping[str, bytes]) -> None:
        """Store files durably, each whole or not at all."""
        folders: dict[Path, None] = {}
        for path, content in files.items():
            target = self.folder / path
            if not target.parent.is_dir():
                self._operations.make_folder(target.parent)
                for above in target.parent.relative_to(self.folder).parents:
                    folders[self.folder / above] = None
            temporary = target.with_name(f".{target.name}.part")
            try:
                self._operations.write_temporary(temporary, content)
                self._operations.rename(temporary, target)
            except OSError:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise
            folders[target.parent] = None
        for folder in folders:
            self._operations.sync_folder(folder)

    def remove_partial(self, full: str) -> None:
        """Remove the partial tiles that became the full tile of this path."""
        folder = self.folder / f"{full}.p"
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            self._operations.remove(path)
        with contextlib.suppress(OSError):
            folder.rmdir()

    def list_paths(self) -> Iterator[str]:
        """Yield the path of every file; those that a killed process has not finished, and hidden ones, are left out."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(self.folder).as_posix()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the right to write, which one process of this host has at a time."""
        self._operations.make_folder(self.folder)
        descriptor = os.open(self.folder.with_name(f".{self.folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Do nothing: no file stays open."""
