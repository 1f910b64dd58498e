"""Changes of an index folder: documents are added, replaced and removed, and one rename makes it count.

The passages of new contents are embedded and stored in batches; the manifest that lists them is written last. Whatever
happens before leaves the index as it was, and the work already stored is taken up by the next update.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heatbath.errors import BadInput, suggest_name
from heatbath.retrieval.document_chunks import find_words, split_document
from heatbath.retrieval.embedding import NO_EMBEDDING, Embedder, load_embedder
from heatbath.retrieval.folder_lock import lock_folder, validate_new_folder
from heatbath.retrieval.keyword_index import prune_keywords, save_keywords
from heatbath.retrieval.loaders import find_type, load_document
from heatbath.retrieval.manifest import DocumentRecord, IndexSettings, Manifest, read_manifest, write_manifest
from heatbath.retrieval.passage_store import DamagedTable, PassageStore
from heatbath.retrieval.passage_writer import PassageWriter
from heatbath.retrieval.snapshot import IncompleteIndex, Snapshot, prune_snapshots
from heatbath.retrieval.source_files import SourceFile, list_files

ProgressCallback = Callable[[int, int], None]
"""Called with the kilobytes of source files that are indexed, and all of them."""


@dataclass
class UpdateReport:
    """The paths of documents by what an update did with them; `skipped` has a sentence for each file left out.

    `embedded` counts the texts that went through the embedding model, `passages` those of the whole index.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    passages: int = 0
    embedded: int = 0
    version: str = ""


def add_documents(
    folder: str | Path,
    paths: Sequence[str | Path] = (),
    *,
    settings: IndexSettings | None = None,
    embedder: Embedder | None = None,
    progress: ProgressCallback = lambda done, total: None,
) -> UpdateReport:
    """Bring an index up to date with files and folders, those it has already where none are given.

    Files whose bytes are known are not read again, changed ones are replaced, and those that have gone leave the index.
    A new index gets `settings`; `embedder` stands in for the model that they name.

    Raises:
        BadInput: a path does not exist, another process changes the index, the settings are not those of the index, or
            no file could be read.
        MissingExtra: without the extra `retrieval`.
        ModelError: the embedding model cannot be loaded.
    """
    place = Path(folder)
    existing = _read_existing(place, settings)
    roots = [Path(os.path.abspath(path)) for path in paths] or _known_roots(existing, place)
    files = list_files((each for each in roots if paths or each.exists()), skip=place)
    if existing is None:
        _validate_embedding(settings or IndexSettings(), embedder)
    with lock_folder(place):
        manifest = read_manifest(place) or Manifest(settings or IndexSettings())
        if existing is None:
            write_manifest(place, manifest)  # the passages of a first update that is killed belong to these settings
        update = _Update(place, manifest, embedder)
        update.apply(files, {str(each) for each in roots}, progress)
        return update.commit()


def read_index(folder: Path) -> Manifest:
    """Read the manifest of an index that must exist.

    Raises:
        BadInput: there is none, or it is damaged.
    """
    manifest = read_manifest(folder) if folder.is_dir() else None
    if manifest is None:
        raise BadInput(f"{folder} is no index: make one with `heatbath index add {folder} FILES`.", param="folder")
    return manifest


def remove_documents(folder: str | Path, names: Sequence[str]) -> UpdateReport:
    """Remove documents by their path in the index, by a folder of such paths, or by their file.

    Raises:
        BadInput: there is no index, a name is not in it, or another process changes it.
        MissingExtra: without the extra `retrieval`.
    """
    place = Path(folder)
    read_index(place)  # before the lock, which creates the folder
    with lock_folder(place):
        manifest = read_index(place)
        leaving: set[str] = set()
        for name in names:
            found = {each.path for each in manifest.documents if _is_named(each, name)}
            if not found:
                hint = suggest_name(name, [each.path for each in manifest.documents])
                raise BadInput(f"{place} has no document {name!r}{hint}: see `heatbath index list {place}`.")
            leaving |= found
        update = _Update(place, manifest, None)
        update.remove(leaving)
        return update.commit()


def repair_documents(folder: Path, embedder: Embedder | None = None) -> None:
    """Store the passages again that an index lacks, from the files of their documents.

    Raises:
        BadInput: such a file has changed or gone, or another process changes the index.
    """
    with lock_folder(folder):
        update = _Update(folder, read_index(folder), embedder)
        for record in update.incomplete:
            update.restore(record)
        update.commit()


class _Update:
    """One change of an index, from the manifest at its beginning; the lock is held."""

    def __init__(self, folder: Path, manifest: Manifest, embedder: Embedder | None) -> None:
        self._folder, self._manifest, self._given_embedder = folder, manifest, embedder
        self._store = PassageStore(folder)
        self.incomplete = self._find_incomplete()
        self._records = {each.path: each for each in manifest.documents}
        self._by_source = {each.source: each for each in manifest.documents}
        self._report = UpdateReport()
        self._writer: PassageWriter | None = None
        self._progress: ProgressCallback = lambda done, total: None
        self._done, self._total = 0.0, 0

    def apply(self, files: Sequence[SourceFile], roots: set[str], progress: ProgressCallback) -> None:
        """Take in files, and drop the documents of `roots` whose file is not among them.

        Raises:
            BadInput: none of the files could be read.
        """
        sizes = [file.path.stat().st_size for file in files]
        self._progress, self._total = progress, sum(sizes)
        sources = {str(file.path) for file in files}
        self.remove(
            each.path for each in self._manifest.documents if _is_under(each, roots) and each.source not in sources
        )
        for file, size in zip(files, sizes, strict=True):
            self._take(file, size)
        if self._writer is not None:
            self._writer.flush()
            self._report.embedded = self._writer.embedded
        skipped = self._report.skipped
        if skipped and len(skipped) == len(files):
            raise BadInput(next(iter(skipped.values())))

    def remove(self, paths: Iterable[str]) -> None:
        """Drop documents."""
        for path in paths:
            del self._records[path]
            self._report.removed.append(path)

    def restore(self, record: DocumentRecord) -> None:
        """Store the passages of a document again.

        Raises:
            BadInput: its file is not what it was.
        """
        file = Path(record.source)
        content = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(content).hexdigest() != record.source_hash:
            raise BadInput(
                f"{self._folder} is damaged, and {record.source} has changed or gone since: "
                f"run `heatbath index add {self._folder}` to bring it up to date."
            )
        self._write(SourceFile(file, Path(record.root)), record.path, content)
        self._open_writer().flush()

    def commit(self) -> UpdateReport:
        """Make the change count, and remove what no longer belongs to the index."""
        documents = tuple(sorted(self._records.values(), key=lambda each: each.path))
        manifest = Manifest(self._manifest.settings, documents)
        snapshot = Snapshot.load(self._store, manifest)
        save_keywords(self._folder, snapshot)
        snapshot.save_file(self._folder)
        write_manifest(self._folder, manifest)
        self._store.prune([each.key for each in documents], {each.content_hash for each in documents})
        prune_keywords(self._folder, manifest.version)
        prune_snapshots(self._folder, manifest.version)
        self._report.passages, self._report.version = len(snapshot), manifest.version
        return self._report

    def _find_incomplete(self) -> list[DocumentRecord]:
        """Return the documents whose passages or text are not all there: all of them if a table is damaged."""
        try:
            Snapshot.load(self._store, self._manifest)
        except IncompleteIndex as error:
            return error.documents
        except DamagedTable:
            self._store.discard()
            return list(self._manifest.documents)
        return []

    def _take(self, file: SourceFile, size: int) -> None:
        """Take in one file: nothing to do for one that is known."""
        known = self._by_source.get(str(file.path))
        try:
            content = file.path.read_bytes()
        except OSError as error:
            self._skip(file, known, f"{file.path} cannot be read ({error.strerror}): check its permissions.")
            return
        is_same = known is not None and known.source_hash == hashlib.sha256(content).hexdigest()
        if known is not None and is_same and known not in self.incomplete:
            self._report.unchanged.append(known.path)
            self._count_bytes(size)
            return
        try:
            path = known.path if known is not None else self._find_name(file)
            self._write(file, path, content)
        except BadInput as error:
            self._skip(file, known, str(error))
            return
        (self._report.added if known is None else self._report.changed).append(path)

    def _write(self, file: SourceFile, path: str, content: bytes) -> None:
        """Store the passages of a file, and note its document."""
        writer = self._open_writer()
        settings = self._manifest.settings
        document = load_document(content, str(file.path))
        embedder = self._embedder()
        chunks = split_document(document, settings.plan, embedder.find_tokens if embedder else find_words)
        record = DocumentRecord(
            path=path,
            type=find_type(file.path.name) or "plain_text",
            title=document.title,
            content_hash=hashlib.sha256(document.text.encode()).hexdigest(),
            passages=len(chunks),
            source=str(file.path),
            root=str(file.root),
            source_hash=hashlib.sha256(content).hexdigest(),
            metadata=document.metadata,
        )
        self._records[path] = record
        writer.add(record, document, chunks, len(content))

    def _skip(self, file: SourceFile, known: DocumentRecord | None, reason: str) -> None:
        self._report.skipped[str(file.path)] = reason
        if known is not None:
            self.remove([known.path])

    def _find_name(self, file: SourceFile) -> str:
        """Return a name that no other file has, with more folders in front if need be."""
        name, parents = file.name, list(file.root.parents)
        for parent in parents:
            other = self._records.get(name)
            if other is None or not Path(other.source).exists():
                return name
            name = f"{parent.name or 'root'}/{name}"
        return str(file.path)

    def _embedder(self) -> Embedder | None:
        return None if self._is_plain else self._given_embedder or load_embedder(self._manifest.settings.embedding)

    @property
    def _is_plain(self) -> bool:
        return self._manifest.settings.embedding == NO_EMBEDDING

    def _open_writer(self) -> PassageWriter:
        if self._writer is None:
            self._writer = PassageWriter(self._store, self._embedder(), self._count_bytes)
        return self._writer

    def _count_bytes(self, count: float) -> None:
        self._done += count
        self._progress(round(self._done / 1000), round(self._total / 1000))


def _read_existing(folder: Path, settings: IndexSettings | None) -> Manifest | None:
    """Return the manifest of an index whose settings are those asked for, None for a folder without one."""
    manifest = read_manifest(folder)
    if manifest is None:
        validate_new_folder(folder)
    elif settings is not None and settings != manifest.settings:
        own = manifest.settings
        raise BadInput(
            f"{folder} has embedding {own.embedding!r} with {own.tokens} tokens and overlap {own.overlap}, for good: "
            "leave these settings out, or give another folder.",
            param="settings",
        )
    return manifest


def _known_roots(manifest: Manifest | None, folder: Path) -> list[Path]:
    """Return the files and folders that an index was made of.

    Raises:
        BadInput: it has none, or a place they were in cannot be reached, as with a disk that is not mounted.
    """
    roots = sorted({Path(each.root) for each in manifest.documents}) if manifest else []
    if not roots:
        raise BadInput(f"{folder} has no documents yet: give files or folders to add.", param="paths")
    for root in roots:
        if not root.parent.exists():
            raise BadInput(f"{root.parent} cannot be reached: mount it, or remove its documents from {folder} by name.")
    return roots


def _validate_embedding(settings: IndexSettings, embedder: Embedder | None) -> None:
    """Check the settings of a new index against the model before anything is written."""
    plan = settings.plan
    if settings.embedding == NO_EMBEDDING:
        return
    model = embedder or load_embedder(settings.embedding)
    if plan.tokens > model.max_tokens:
        raise BadInput(
            f"`tokens` must be at most {model.max_tokens} for {model.name!r}, which reads no more of a text, "
            f"got {plan.tokens}.",
            param="tokens",
        )


def _is_under(record: DocumentRecord, roots: set[str]) -> bool:
    """Return True if the file of a document is one of `roots`, or below one."""
    return not roots.isdisjoint([record.source, *map(str, Path(record.source).parents)])


def _is_named(record: DocumentRecord, name: str) -> bool:
    plain = name.rstrip("/")
    return record.path == plain or record.path.startswith(f"{plain}/") or record.source == os.path.abspath(name)
