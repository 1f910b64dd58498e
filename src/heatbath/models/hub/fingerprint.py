"""Fingerprints of models: hashes over weights, configuration and tokenizer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from heatbath.models.hub.model_store import cache_folder

_LARGE_FILE_BYTES = 1 << 24
_HASHED_FILES = ("config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "heatbath.json")


def folder_fingerprint(folder: Path) -> str:
    """Return `sha256:…` over names and hashes of the model's files; hashes of large files are cached."""
    files = sorted(
        {*folder.glob("*.safetensors"), *(folder / name for name in _HASHED_FILES if (folder / name).exists())}
    )
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.name}\0{file_hash(path)}\n".encode())
    return f"sha256:{total.hexdigest()}"


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; that of a large one is cached under its path, size and time."""
    status = path.stat()
    if status.st_size < _LARGE_FILE_BYTES:
        return compute_sha256(path)
    key = hashlib.sha256(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()
    note = cache_folder() / "hashes" / f"{key[:32]}.json"
    digest = _read_cached_hash(note)
    if digest is None:
        digest = compute_sha256(path)
        _write_cached_hash(note, path, digest)
    return digest


def compute_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_cached_hash(note: Path) -> str | None:
    try:
        value = json.loads(note.read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if isinstance(value, str) and len(value) == 64 else None


def _write_cached_hash(note: Path, path: Path, value: str) -> None:
    """Write a draft and rename it; a cache that cannot be written only costs time."""
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({"path": str(path), "sha256": value}))
        draft.replace(note)
