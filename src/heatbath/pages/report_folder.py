"""The folder of a report: its template, and its files, which appear together or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from string import Template

FIGURES_FOLDER = "figures"


@contextmanager
def write_files(folder: Path) -> Iterator[Path]:
    """Give a temporary folder, with one for figures in it, and move its files to `folder` at the end.

    An error in between leaves the folder as it was.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report-", suffix=".part", dir=folder) as temporary:
        draft = Path(temporary)
        (draft / FIGURES_FOLDER).mkdir()
        yield draft
        for path in sorted(path for path in draft.rglob("*") if path.is_file()):
            target = folder / path.relative_to(draft)
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)


def read_figures(folder: Path) -> dict[str, str]:
    """Return the SVGs in the folder for figures, by name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in (folder / FIGURES_FOLDER).glob("*.svg")}


def load_template(package: str, name: str) -> Template:
    """Read a page template of a package."""
    return Template(files(package).joinpath(name).read_text(encoding="utf-8"))
