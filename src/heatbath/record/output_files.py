"""Files that appear whole or not at all, under a name that tells their format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heatbath.errors import BadInput

SUFFIXES = {
    "Parquet": (".parquet", ".pq"),
    "HTML": (".html", ".htm"),
    "JSON": (".json",),
    "JSON lines": (".jsonl", ".ndjson"),
}
"""The suffixes of file names by format, the usual one first."""


def validate_suffix(path: str | Path, kind: str) -> None:
    """Check that the name of a file ends in a suffix of the format `kind`, in upper or lower case.

    Raises:
        BadInput: it does not, so that other programs would take the file for something else.
    """
    target, suffixes = Path(path), SUFFIXES[kind]
    if target.suffix.lower() not in suffixes:
        raise BadInput(
            f"{kind} files end in {suffixes[0]}, got {target.name}: name the file {target.with_suffix(suffixes[0])}."
        )


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` at the end or is removed on an error."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
