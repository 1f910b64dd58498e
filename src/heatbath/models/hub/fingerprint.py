"""Fingerprints of models: hashes over weights, configuration and tokenizer.

Where the files come from and which version of a library wrote them is left out: a model has the same fingerprint
wherever it was converted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from heatbath.models.hub.model_store import cache_folder

_LARGE_FILE_BYTES = 1 << 24
_HASHED_FILES = ("config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "heatbath.json")


_PROVENANCE = {
    "config.json": ("transformers_version", "_name_or_path", "_model_name_or_path"),
    "heatbath.json": ("name", "source", "sha256", "licence"),
}
"""Keys that do not change what a model computes, by file."""


def folder_fingerprint(folder: Path) -> str:
    """Return `sha256:…` over names and hashes of the model's files; hashes of large files are cached."""
    files = sorted(
        {*folder.glob("*.safetensors"), *(folder / name for name in _HASHED_FILES if (folder / name).exists())}
    )
    total = hashlib.sha256()
    for path in files:
        digest = _settings_hash(path) if path.name in _PROVENANCE else file_hash(path)
        if digest:
            total.update(f"{path.name}\0{digest}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _settings_hash(path: Path) -> str:
    """Return the SHA-256 of the settings in a JSON file, "" for none; of the bytes of a file that is not JSON."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return file_hash(path)
    if isinstance(content, dict):
        left_out = _PROVENANCE[path.name]
        content = {key: value for key, value in content.items() if key not in left_out and value not in (None, [])}
        if not content:
            return ""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
