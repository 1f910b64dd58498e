"""A ledger: entries are appended, published under signed checkpoints, proved to be there, and erased."""

from __future__ import annotations

import contextlib
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
from heatbath.ledger.key_file import open_key_file
from heatbath.ledger.publisher import Publisher
from heatbath.ledger.signed_note import VerifierKey
from heatbath.ledger.tile_storage import FileOperations, TileFolder, TileStorage
from heatbath.ledger.tiles import TILE_WIDTH, TileName, TileTree, decode_entries, split_hashes
from heatbath.ledger.tree_tail import LogDamaged
from heatbath.ledger.witness_client import read_witnesses

EntryState = Literal["sequenced", "published"]

DATABASE_FILE = "ledger.db"
PUBLIC_FOLDER = "public"


@dataclass(frozen=True)
class Receipt:
    """The id and the number of an entry that was appended, which never change."""

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
        is_new = not any((self.folder / name).exists() for name in (DATABASE_FILE, PUBLIC_FOLDER))
        self.keys = open_key_file(self.folder, origin, is_new=is_new)
        self.origin = self.keys.origin
        if origin is not None and origin != self.origin:
            raise BadInput(f"the ledger in {self.folder} belongs to the log {self.origin!r}, not to {origin!r}.")
        self.queue = EntryQueue(url or f"sqlite:///{self.folder.absolute() / DATABASE_FILE}", self.origin)
        self.storage: TileStorage = self._open_storage(url, operations)
        self._publisher = Publisher(self.queue, self.storage, self.keys, read_witnesses(self.folder))
        with contextlib.suppress(BadInput):  # a damaged checkpoint is for `verify` to name; `publish` refuses it
            self._publisher.validate_queue()

    def _open_storage(self, url: str | None, operations: FileOperations | None) -> TileStorage:
        if url is not None and self.queue.is_shared:
            from heatbath.ledger.database_tiles import DatabaseTiles

            return DatabaseTiles(url)
        return TileFolder(self.folder / PUBLIC_FOLDER, operations)

    @property
    def verifier_keys(self) -> tuple[VerifierKey, ...]:
        """The public keys that checkpoints are signed with."""
        return self.keys.read_public()

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
        numbers = self.queue.append(queued)
        return [Receipt(entry.id, number) for (entry, _), number in zip(entries, numbers, strict=True)]

    def publish(self) -> VerifiedCheckpoint:
        """Integrate what is sequenced, and return the checkpoint over it. Raises `LogDamaged`, `PublishFailed`."""
        return self._publisher.publish()

    @property
    def witness_problems(self) -> list[str]:
        """A sentence for each witness that did not cosign the last checkpoint."""
        return self._publisher.witness_problems

    def checkpoint(self) -> VerifiedCheckpoint | None:
        """Return the last checkpoint, None before the first."""
        return self._publisher.read_checkpoint()

    def entry_state(self, number: int) -> EntryState:
        """Return whether an entry is under a checkpoint. Raises `BadInput` for a number that no entry has."""
        found = self.checkpoint()
        if found is not None and number < found.checkpoint.size:
            return "published"
        if not 0 <= number < self.queue.size():
            raise BadInput(f"there is no entry {number} in this ledger.")
        return "sequenced"

    def find_number(self, entry_id: str) -> int | None:
        """Return the number of the entry with an id, None if there is none."""
        try:
            return self.queue.find_number(bytes.fromhex(entry_id))
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
            bodies = self.queue.read(number, 1) if number < self.queue.size() else []
            if not bodies:
                raise BadInput(f"there is no entry {number} in this ledger.")
            return bodies[0]
        tile, place = divmod(number, TILE_WIDTH)
        name = TileName("entries", tile, min(size - tile * TILE_WIDTH, TILE_WIDTH))
        return decode_entries(self._read_tile(name))[place]

    def read_content(self, entry: Entry) -> dict[str, bytes | None]:
        """Return the contents of an entry by name; None for one that was erased."""
        found = {name: self.queue.read_content(digest) for name, digest in entry.content.items()}
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
        return Receipt(erasure.id, self.queue.append_erasure(queued, digests))

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
        self.storage.close()
        self.queue.close()

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
