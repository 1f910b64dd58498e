"""The files that a command names, and those below the folders that it names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from heatbath.errors import BadInput
from heatbath.retrieval.loaders import find_type

_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules"})


@dataclass(frozen=True)
class SourceFile:
    """A file to index, as an absolute path, and the file or folder that was named for it."""

    path: Path
    root: Path

    @property
    def name(self) -> str:
        """The name of a document from this file: below a folder, with the folder's name in front."""
        if self.path == self.root:
            return self.path.name
        return f"{self.root.name}/{self.path.relative_to(self.root).as_posix()}"


def list_files(roots: Iterable[Path], *, skip: Path) -> list[SourceFile]:
    """Return the files below roots, each once: a file named itself, and of a folder those that some loader reads.

    Hidden files and folders are left out, and so are links, `__pycache__`, `node_modules` and the folder `skip`.

    Raises:
        BadInput: a root does not exist.
    """
    found: dict[Path, SourceFile] = {}
    for root in roots:
        path = Path(os.path.abspath(root))
        if path.is_dir():
            for file in _walk(path, Path(os.path.abspath(skip))):
                found.setdefault(file, SourceFile(file, path))
        elif path.exists():
            found[path] = SourceFile(path, path)
        else:
            raise BadInput(f"there is no file or folder {root}: check the path.", param="paths")
    return sorted(found.values(), key=lambda each: each.path)


def _walk(root: Path, skip: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(
            name for name in folders if name[0] != "." and name not in _SKIPPED_FOLDERS and here / name != skip
        )
        for name in sorted(files):
            path = here / name
            if name[0] != "." and find_type(name) and path.is_file() and not path.is_symlink():
                yield path
