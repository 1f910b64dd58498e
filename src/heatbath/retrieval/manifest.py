"""The manifest of an index folder: its settings and its documents. What it lists is in the index, nothing else is.

It is replaced by one rename, so that a reader sees the index before a change or after it, never between.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from heatbath.errors import BadInput
from heatbath.record.output_files import atomic_write
from heatbath.retrieval.document_chunks import ChunkPlan
from heatbath.retrieval.embedding import DEFAULT_EMBEDDING

MANIFEST_FILE = "index.json"
FORMAT = 1


@dataclass(frozen=True)
class IndexSettings:
    """Settings that an index has from its creation on: the embedding model ("none" for BM25 alone) and the chunks."""

    embedding: str = DEFAULT_EMBEDDING
    tokens: int = ChunkPlan.tokens
    overlap: int = ChunkPlan.overlap

    @property
    def plan(self) -> ChunkPlan:
        """The sizes of chunks."""
        return ChunkPlan(self.tokens, self.overlap)


@dataclass(frozen=True)
class DocumentRecord:
    """One document of an index.

    Attributes:
        path: its name within the index.
        type: the loader that read it.
        title: what it calls itself.
        content_hash: SHA-256 of its text.
        passages: their number.
        source: the file it came from.
        root: the file or folder that was added.
        source_hash: SHA-256 of the bytes of the file.
        metadata: what it says of itself.
    """

    path: str
    type: str
    title: str
    content_hash: str
    passages: int
    source: str
    root: str
    source_hash: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Digest that the passages of this content under this path carry."""
        return hashlib.sha256(f"{self.path}\0{self.content_hash}".encode()).hexdigest()[:32]

    @property
    def searchable_metadata(self) -> dict[str, Any]:
        """The names and values of filters: the document's own metadata, its path and its type."""
        return {**self.metadata, "path": self.path, "type": self.type}


@dataclass(frozen=True)
class Manifest:
    """The settings of an index and its documents, in order of their paths."""

    settings: IndexSettings
    documents: tuple[DocumentRecord, ...] = ()

    @cached_property
    def version(self) -> str:
        """Digest of the settings, the contents and the metadata; the same for the same content on any machine."""
        documents = [[each.path, each.type, each.title, each.content_hash, each.metadata] for each in self.documents]
        content = {"format": FORMAT, "settings": asdict(self.settings), "documents": documents}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of an index folder; None if there is none.

    Raises:
        BadInput: it is damaged, or of another format.
    """
    path = folder / MANIFEST_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] == FORMAT:
            documents = tuple(DocumentRecord(**each) for each in content["documents"])
            return Manifest(IndexSettings(**content["settings"]), documents)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path} is damaged ({' '.join(str(error).split())[:80]}): remove {folder} and add its documents again."
        ) from error
    raise BadInput(
        f"{path} has the format {content['format']!r}, and this release reads {FORMAT}: "
        f"remove {folder} and add its documents again."
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest, and have it on disk before returning."""
    content = {
        "format": FORMAT,
        "version": manifest.version,
        "settings": asdict(manifest.settings),
        "documents": [asdict(each) for each in manifest.documents],
    }
    with atomic_write(folder / MANIFEST_FILE) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    """Have the names of a folder on disk, where the system can open folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
