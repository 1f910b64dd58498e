"""The integration of sequenced entries into tiles, and the checkpoint that publishes them.

A checkpoint is signed only over a tree that continues the one of the last checkpoint: the edge that is read from the
tiles must have its root. The files that a killed process leaves are made again, byte for byte, by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from heatbath.errors import HeatbathError
from heatbath.ledger.checkpoint import Checkpoint, VerifiedCheckpoint, open_checkpoint
from heatbath.ledger.entry_queue import EntryQueue
from heatbath.ledger.key_file import KeyFile
from heatbath.ledger.signed_note import NoteSignature, SignedNote
from heatbath.ledger.tile_storage import CHECKPOINT, TileStorage
from heatbath.ledger.tiles import TileName, TileTree, split_hashes
from heatbath.ledger.tree_tail import LogDamaged, TreeTail
from heatbath.ledger.witness_client import Witness, WitnessFailed, request_cosignatures

_ENTRIES_AT_ONCE = 4096
_WITNESS_PAUSE = 30.0
"""Seconds until a witness that did not answer is asked again while no entry is added."""


class PublishFailed(HeatbathError):
    """Files of a log that cannot be written; what was sequenced stays, and is published by the next try."""


class Publisher:
    """Writes the tiles and checkpoints of one log.

    Attributes:
        witness_problems: a sentence for each witness that did not cosign the last checkpoint.
    """

    def __init__(
        self, queue: EntryQueue, storage: TileStorage, keys: KeyFile, witnesses: Sequence[Witness] = ()
    ) -> None:
        self._queue, self._storage, self._keys, self._witnesses = queue, storage, keys, tuple(witnesses)
        self._tail: TreeTail | None = None
        self._next_try = 0.0
        self.witness_problems: list[str] = []

    def read_checkpoint(self) -> VerifiedCheckpoint | None:
        """Return the last checkpoint, None before the first. Raises `SignatureInvalid` if a signature fails."""
        content = self._storage.read(CHECKPOINT)
        if content is None:
            return None
        witnesses = [witness.key for witness in self._witnesses]
        return open_checkpoint(content.decode(errors="replace"), self._keys.read_public(), witnesses)

    def validate_queue(self) -> None:
        """Check that the database has all entries that were published.

        Raises:
            LogDamaged: it has fewer, as one that was lost or restored from a copy: numbers would be given twice.
        """
        last = self.read_checkpoint()
        if last is not None and (found := self._queue.size()) < last.checkpoint.size:
            raise LogDamaged(
                f"the database of the ledger has {found} entries and {last.checkpoint.size} are published: put the "
                "newest database back; nothing was written."
            )

    def publish(self) -> VerifiedCheckpoint:
        """Integrate all entries that are sequenced, and return the checkpoint over them.

        Raises:
            LogDamaged: the tiles are not those of the checkpoint, or the database lacks entries; nothing is signed.
            PublishFailed: a file cannot be written, such as on a full disk; the checkpoint stays as it was.
        """
        try:
            with self._storage.lock():
                return self._publish()
        except OSError as error:
            raise PublishFailed(f"the ledger was not published ({error.strerror or error}): try again.") from error

    def _publish(self) -> VerifiedCheckpoint:
        self.validate_queue()
        last = self.read_checkpoint()
        if last is not None and self._queue.size() == last.checkpoint.size and not self._lacks_witness(last):
            return last
        tail = self._continue_from(last)
        begin = 0 if self._tail is None else tail.size
        self._tail = None
        full = self._integrate(tail)
        self._storage.write(tail.partial_tiles())
        checkpoint = Checkpoint(self._queue.origin, tail.size, tail.root())
        published = self._sign(checkpoint, last)
        self._storage.write({CHECKPOINT: str(published.note).encode()})
        self._queue.drop_bodies(begin, tail.size)
        for path in full:
            self._storage.remove_partial(path)
        self._tail = tail
        return published

    def _lacks_witness(self, last: VerifiedCheckpoint) -> bool:
        """Return whether a witness is to be asked again for a checkpoint that it has not cosigned."""
        is_lacking = len(last.witnesses) < len({witness.key.name for witness in self._witnesses})
        return is_lacking and time.monotonic() >= self._next_try

    def _sign(self, checkpoint: Checkpoint, last: VerifiedCheckpoint | None) -> VerifiedCheckpoint:
        """Return the checkpoint, signed by the keys of the log, and by the witnesses that answer."""
        text = str(checkpoint)
        note = SignedNote(text, tuple(key.sign(text) for key in self._keys.read()))
        signatures = self._ask_witnesses(checkpoint, note, last)
        note = SignedNote(text, note.signatures + signatures)
        return open_checkpoint(str(note), self._keys.read_public(), [witness.key for witness in self._witnesses])

    def _ask_witnesses(
        self, checkpoint: Checkpoint, note: SignedNote, last: VerifiedCheckpoint | None
    ) -> tuple[NoteSignature, ...]:
        tree = TileTree(checkpoint.size, self._read_hashes)
        known = {} if last is None else dict.fromkeys((name for name, _ in last.witnesses), last.checkpoint.size)
        signatures: list[NoteSignature] = []
        self.witness_problems, self._next_try = [], time.monotonic() + _WITNESS_PAUSE
        for witness in self._witnesses:
            try:
                signatures += request_cosignatures(
                    witness,
                    note,
                    checkpoint.size,
                    prove=tree.consistency_proof,
                    old_size=known.get(witness.key.name, 0),
                )
            except WitnessFailed as error:
                self.witness_problems.append(str(error))
        return tuple(signatures)

    def _read_hashes(self, name: TileName) -> list[bytes]:
        content = self._storage.read(str(name)) or self._storage.read(str(TileName(name.level, name.index)))
        if content is None:
            raise LogDamaged(f"{name} is missing from the log.")
        return split_hashes(content)

    def _integrate(self, tail: TreeTail) -> list[str]:
        """Append the sequenced entries to the tail and write the full tiles; return their paths."""
        paths: list[str] = []
        while bodies := self._queue.read(tail.size, _ENTRIES_AT_ONCE):
            full = tail.append(bodies)
            self._storage.write(full)
            paths += full
        return paths

    def _continue_from(self, last: VerifiedCheckpoint | None) -> TreeTail:
        """Return the edge of the published tree, which has the root of the last checkpoint."""
        if last is None:
            return TreeTail()
        size, root = last.checkpoint.size, last.checkpoint.root
        if self._tail is not None and self._tail.size == size and self._tail.root() == root:
            return self._tail
        tail = TreeTail.read(size, self._storage.read)
        if tail.root() != root:
            raise LogDamaged(
                f"the tiles do not have the root of the checkpoint over {size} entries, so nothing was signed: "
                "run heatbath ledger verify."
            )
        return tail
