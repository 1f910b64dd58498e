"""A ledger: entries are appended, published under signed checkpoints, proved to be there, and erased."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from heatbath.errors import BadInput
from heatbath.ledger.checkpoint import InclusionProof, VerifiedCheckpoint
from heatbath.ledger.content import Content, create_content
from heatbath.ledger.entry import Entry, parse_entry
from heatbath.ledger.entry_queue import EntryQueue, QueuedEntry
from heatbath.ledger.publisher import Publisher
from heatbath.ledger.signed_note import SignerKey, VerifierKey, create_signer_key, parse_signer_key
from heatbath.ledger.tile_storage import FileOperations, TileFolder, TileStorage
from heatbath.ledger.tiles import TILE_WIDTH, TileName, TileTree, decode_entries, split_hashes
from heatbath.ledger.tree_tail import LogDamaged

EntryState = Literal["sequenced", "published"]

DATABASE_FILE = "ledger.db"
KEY_FILE = "ledger.key"
PUBLIC_KEY_FILE = "ledger.pub"
PUBLIC_FOLDER = "public"


@dataclass(frozen=True)
class Receipt:
    """What is known of an entry once it is appended: its id and its number, which never change."""

    id: str
    number: int


class Ledger:
    """A log of entries that nobody can rewrite without being found out.

    Args:
        folder: where its database, key and published files are; made if it is not there.
        origin: the name of the log, such as "example.com/agent"; needed to make one, checked otherwise.
        url: a PostgreSQL database in place of the file, where several hosts write one log.

    `append` returns when an entry is sequenced, durably; `publish` writes tiles and a signed checkpoint. A ledger may
    be used by several threads and processes.

    Raises:
        BadInput: no origin for a new ledger, another origin, a folder or key that cannot be read.
        QueueUnusable: the database is of another log or version.
    """

    def __init__(
        self,
        folder: str | Path,
        origin: str | None = None,
        *,
        url: str | None = None,
        operations: FileOperations | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._keys = _open_keys(self.folder, origin)
        self.origin = self._keys[0].name
        if origin is not None and origin != self.origin:
            raise BadInput(f"the ledger in {self.folder} belongs to the log {self.origin!r}, not to {origin!r}.")
        self._queue = EntryQueue(url or f"sqlite:///{self.folder.absolute() / DATABASE_FILE}", self.origin)
        self.storage: TileStorage = self._open_storage(url, operations)
        self._publisher = Publisher(self._queue, self.storage, self._keys)

    def _open_storage(self, url: str | None, operations: FileOperations | None) -> TileStorage:
        if url is not None and self._queue.is_shared:
            from heatbath.ledger.database_tiles import DatabaseTiles

            return DatabaseTiles(url)
        return TileFolder(self.folder / PUBLIC_FOLDER, operations)

    @property
    def verifier_keys(self) -> tuple[VerifierKey, ...]:
        """The public keys that checkpoints are signed with."""
        return tuple(key.verifier for key in self._keys)

    def append(
        self,
        data: Mapping[str, Any],
        *,
        kind: str = "event",
        content: Mapping[str, str | bytes] | None = None,
        entry_id: str | None = None,
    ) -> Receipt:
        """Append one entry and return its receipt, when it is durable.

        Args:
            data: what is recorded, plain values.
            kind: "decision", "outcome", "review" or "event".
            content: texts that are kept apart and can be erased, by name; the entry has their keyed digests.
            entry_id: 32 hex digits; an entry whose id the log has is not appended again.

        Raises:
            BadInput: values that JSON does not have, or too many bytes; nothing is written.
        """
        return self.append_many([build_entry(data, kind=kind, content=content, entry_id=entry_id)])[0]

    def append_many(self, entries: Sequence[tuple[Entry, Sequence[Content]]]) -> list[Receipt]:
        """Append entries in one transaction. See `append` and `build_entry`."""
        queued = [QueuedEntry(bytes.fromhex(entry.id), entry.encode(), contents) for entry, contents in entries]
        numbers = self._queue.append(queued)
        return [Receipt(entry.id, number) for (entry, _), number in zip(entries, numbers, strict=True)]

    def publish(self) -> VerifiedCheckpoint:
        """Integrate what is sequenced, and return the checkpoint over it. Raises `LogDamaged`."""
        return self._publisher.publish()

    def checkpoint(self) -> VerifiedCheckpoint | None:
        """Return the last checkpoint, None before the first."""
        return self._publisher.read_checkpoint()

    def entry_state(self, number: int) -> EntryState:
        """Return whether an entry is under a checkpoint. Raises `BadInput` for a number that no entry has."""
        found = self.checkpoint()
        if found is not None and number < found.checkpoint.size:
            return "published"
        if not 0 <= number < self._queue.size():
            raise BadInput(f"there is no entry {number} in this ledger.")
        return "sequenced"

    def find_number(self, entry_id: str) -> int | None:
        """Return the number of the entry with an id, None if there is none."""
        try:
            return self._queue.find_number(bytes.fromhex(entry_id))
        except ValueError:
            return None

    def read_entry(self, number: int) -> Entry:
        """Return an entry. Raises `BadInput` for a number that no entry has."""
        return parse_entry(self.read_body(number))

    def read_body(self, number: int) -> bytes:
        """Return the bytes of an entry, as they are hashed."""
        found = self.checkpoint()
        size = 0 if found is None else found.checkpoint.size
        if number >= size:
            bodies = self._queue.read(number, 1) if number < self._queue.size() else []
            if not bodies:
                raise BadInput(f"there is no entry {number} in this ledger.")
            return bodies[0]
        tile, place = divmod(number, TILE_WIDTH)
        name = TileName("entries", tile, min(size - tile * TILE_WIDTH, TILE_WIDTH))
        return decode_entries(self._read_tile(name))[place]

    def read_content(self, entry: Entry) -> dict[str, bytes | None]:
        """Return the contents of an entry by name; None for one that was erased."""
        found = {name: self._queue.read_content(digest) for name, digest in entry.content.items()}
        return {name: None if content is None else content.body for name, content in found.items()}

    def prove(self, number: int) -> InclusionProof:
        """Return the proof that an entry is under the last checkpoint.

        Raises:
            BadInput: it is not published yet, or there is no such entry.
        """
        if self.entry_state(number) != "published":
            raise BadInput(f"entry {number} is sequenced and not published yet: publish first, or try again.")
        found = self.checkpoint()
        assert found is not None
        tree = TileTree(found.checkpoint.size, lambda name: split_hashes(self._read_tile(name)))
        return InclusionProof(number, tuple(tree.inclusion_proof(number)), str(found.note))

    def erase(self, number: int, reason: str) -> Receipt:
        """Erase the contents of an entry, and append an entry that says so. Proofs stay as they are."""
        entry = self.read_entry(number)
        digests = sorted(entry.content.values())
        erasure = Entry("erasure", {"entry": number, "digests": digests, "reason": reason})
        queued = QueuedEntry(bytes.fromhex(erasure.id), erasure.encode())
        return Receipt(erasure.id, self._queue.append_erasure(queued, digests))

    def _read_tile(self, name: TileName) -> bytes:
        content = self.storage.read(str(name))
        if content is None:
            # A partial tile may have become full in the meantime.
            content = self.storage.read(str(TileName(name.level, name.index)))
        if content is None:
            raise LogDamaged(f"{name} is missing from the log.")
        return content

    def close(self) -> None:
        """Close the database."""
        self._queue.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def build_entry(
    data: Mapping[str, Any],
    *,
    kind: str = "event",
    content: Mapping[str, str | bytes] | None = None,
    entry_id: str | None = None,
) -> tuple[Entry, list[Content]]:
    """Return an entry and its contents, for `Ledger.append_many`."""
    contents = {name: create_content(body) for name, body in (content or {}).items()}
    digests = {name: each.digest for name, each in contents.items()}
    identity = {} if entry_id is None else {"id": entry_id}
    return Entry(kind, data, digests, **identity), list(contents.values())


def _open_keys(folder: Path, origin: str | None) -> list[SignerKey]:
    """Return the keys of a ledger, the first of which has its name; a new ledger gets one."""
    path = folder / KEY_FILE
    try:
        if not path.exists():
            return [_create_key(folder, origin)]
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInput(f"the key of the ledger, {path}, cannot be read or written ({error.strerror}).") from None
    keys = [parse_signer_key(line) for line in lines if line.strip()]
    if not keys:
        raise BadInput(f"the key of the ledger, {path}, is empty: put the key back, or start a new ledger.")
    return keys


def _create_key(folder: Path, origin: str | None) -> SignerKey:
    if origin is None:
        raise BadInput(f"there is no ledger in {folder}: give an origin, such as example.com/agent, to make one.")
    if (folder / DATABASE_FILE).exists() or (folder / PUBLIC_FOLDER).exists():
        raise BadInput(f"the ledger in {folder} has no key file {KEY_FILE}: put it back; nothing was written.")
    key = create_signer_key(origin)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{KEY_FILE}.{os.getpid()}.part"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{key}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, folder / KEY_FILE)
    except FileExistsError:
        return _open_keys(folder, origin)[0]
    finally:
        temporary.unlink()
    (folder / PUBLIC_KEY_FILE).write_text(f"{key.verifier}\n", encoding="utf-8")
    return key
