"""Checksums beside the files of a converted model, compared at every load: flipped bits give numbers, not errors."""

from __future__ import annotations

import json
import os
from pathlib import Path

import xxhash

from heatbath.errors import ModelError

CHECKSUMS_FILE = "checksums.json"
# Small enough to stay in the cache of a core. A mapped file would count as memory of this process, and a disk that
# cannot read a part of it would end the process.
_BUFFER_BYTES = 1 << 18


def write_checksums(folder: Path) -> None:
    """Write size and hash (XXH3, 128 bits) of every file of a folder into a file beside them."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and CHECKSUMS_FILE not in path.name)
    entries = {path.name: {"bytes": path.stat().st_size, "xxh3_128": compute_xxh3(path)} for path in files}
    draft = folder / f".{CHECKSUMS_FILE}.{os.getpid()}"
    try:
        draft.write_text(json.dumps({"files": entries}, indent=1) + "\n", encoding="utf-8")
        draft.replace(folder / CHECKSUMS_FILE)
    finally:
        draft.unlink(missing_ok=True)


def has_checksums(folder: Path) -> bool:
    """Return True if a folder has checksums: one that heatbath converted, or a copy of it."""
    return (folder / CHECKSUMS_FILE).is_file()


def find_damage(folder: Path) -> str | None:
    """Return a file that is not as it was written, and how; None where all are, and for a folder without checksums."""
    if not has_checksums(folder):
        return None
    try:
        entries = json.loads((folder / CHECKSUMS_FILE).read_text(encoding="utf-8"))["files"]
        expected = {str(name): (int(entry["bytes"]), str(entry["xxh3_128"])) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{CHECKSUMS_FILE} cannot be read"
    # Sizes first, so that a truncated file is found without reading the others.
    found = (_compare_size(folder / name, size) for name, (size, _) in expected.items())
    damage = next(filter(None, found), None)
    if damage is not None:
        return damage
    compared = (_compare_hash(folder / name, digest) for name, (_, digest) in expected.items())
    return next(filter(None, compared), None)


def validate_checksums(folder: Path) -> None:
    """Raise `ModelError` if a file of a folder is not as it was written."""
    damage = find_damage(folder)
    if damage is not None:
        raise ModelError(
            f"the model in {folder} is damaged ({damage}): copy it again; "
            f"if it was changed on purpose, delete {CHECKSUMS_FILE}."
        )


def compute_xxh3(path: Path) -> str:
    """Return the XXH3 hash (128 bits) of a file, in hex. It finds damage, not forgery, at the speed of memory."""
    total, buffer = xxhash.xxh3_128(), memoryview(bytearray(_BUFFER_BYTES))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            total.update(buffer[:count])
    return total.hexdigest()


def _compare_hash(path: Path, digest: str) -> str | None:
    try:
        found = compute_xxh3(path)
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"
    return None if found == digest else f"{path.name} holds other bytes than were written"


def _compare_size(path: Path, size: int) -> str | None:
    if not path.is_file():
        return f"{path.name} is missing"
    found = path.stat().st_size
    return None if found == size else f"{path.name} has {found:,} bytes, expected {size:,}"
