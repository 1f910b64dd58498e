"""Copies of a log: a folder of static files, and the format of chain-of-consciousness."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput
from heatbath.ledger.checkpoint import VerifiedCheckpoint
from heatbath.ledger.entry import parse_entry
from heatbath.ledger.tile_storage import CHECKPOINT, TileStorage
from heatbath.ledger.tiles import TileName, decode_entries, encode_entries, list_tiles
from heatbath.ledger.tree_tail import LogDamaged
from heatbath.ledger.verification import Progress, read_all_entries

CHAIN_VERSION = "1.1"
"""Schema version of chain-of-consciousness 0.1.1."""

_CHAIN_TYPES = {"decision": "decide", "review": "governance", "erasure": "governance"}
_NO_HASH = "0" * 64
_HASH_BYTES = 32


def export_tiles(
    storage: TileStorage, found: VerifiedCheckpoint, folder: Path, progress: Progress | None = None
) -> int:
    """Write the files of a log under a checkpoint to a new folder, all or none; return how many.

    Raises:
        BadInput: the folder exists and is not empty.
        LogDamaged: a file of the log is missing or cut.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} exists and is not empty: give another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        names = list(list_tiles(found.checkpoint.size))
        for done, name in enumerate(names, 1):
            target = draft / str(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_read_tile(storage, name))
            if progress is not None:
                progress(done, len(names))
        (draft / CHECKPOINT).write_text(str(found.note), encoding="utf-8")
        draft.chmod(0o755)
        os.replace(draft, folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return len(names) + 1


def _read_tile(storage: TileStorage, name: TileName) -> bytes:
    """Return the first hashes or entries of a tile, as many as its name has; it may have grown meanwhile."""
    content = storage.read(str(name))
    if content is not None:
        return content
    content = storage.read(str(TileName(name.level, name.index)))
    if content is None:
        raise LogDamaged(f"{name} is missing from the log.")
    if name.level == "entries":
        return encode_entries(decode_entries(content)[: name.width])
    return content[: name.width * _HASH_BYTES]


def export_chain(storage: TileStorage, found: VerifiedCheckpoint, path: Path, progress: Progress | None = None) -> int:
    """Write a log as JSON lines of chain-of-consciousness; return the number of lines.

    The first and the last line hold the checkpoint, since that format has no signature and shows no cut tail.
    """
    from heatbath.record.output_files import atomic_write

    size, last, count = found.checkpoint.size, _NO_HASH, 0
    with atomic_write(path) as temporary, temporary.open("w", encoding="ascii") as file:
        for kind, time, data in _list_events(storage, found):
            row = _chain_row(count, time, kind, found.checkpoint.origin, data=data, last=last)
            # Line separators of Unicode stay escaped: its reader splits lines at them.
            file.write(json.dumps(row) + "\n")
            last, count = row["entry_hash"], count + 1
            if progress is not None and 1 < count < size + 2:
                progress(count - 1, size)
    return count


def _list_events(storage: TileStorage, found: VerifiedCheckpoint) -> Iterator[tuple[str, str, str]]:
    """Yield type, time and data of each line."""
    checkpoint = json.dumps({"log": found.checkpoint.origin, "checkpoint": str(found.note)}, sort_keys=True)
    time = ""
    for _, body in read_all_entries(storage, found.checkpoint.size):
        entry = parse_entry(body)
        if not time:
            yield "genesis", entry.time, checkpoint
        time = entry.time
        yield _CHAIN_TYPES.get(entry.kind, "note"), time, body.decode()
    if not time:
        raise BadInput("the log has no published entries: there is nothing to export.")
    yield "anchor", time, checkpoint


def _chain_row(count: int, time: str, kind: str, agent: str, *, data: str, last: str) -> dict[str, Any]:
    data_hash = _hash_text(data)
    return {
        "seq": count,
        "ts": time,
        "type": kind,
        "agent": agent,
        "data": data,
        "data_hash": data_hash,
        "prev_hash": last,
        "entry_hash": _hash_text(f"{count}|{time}|{kind}|{agent}|{data_hash}|{last}"),
        "schema_version": CHAIN_VERSION,
    }


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
