"""The integration of sequenced entries into tiles, and the checkpoint that publishes them.

A checkpoint is signed only over a tree that continues the one of the last checkpoint: the edge that is read from the
tiles must have its root. The files that a killed process leaves are made again, byte for byte, by the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from heatbath.ledger.checkpoint import Checkpoint, VerifiedCheckpoint, open_checkpoint
from heatbath.ledger.entry_queue import EntryQueue
from heatbath.ledger.signed_note import SignedNote, SignerKey, parse_note
from heatbath.ledger.tile_storage import CHECKPOINT, TileStorage
from heatbath.ledger.tree_tail import LogDamaged, TreeTail

_ENTRIES_AT_ONCE = 4096


class Publisher:
    """Writes the tiles and checkpoints of one log."""

    def __init__(self, queue: EntryQueue, storage: TileStorage, keys: Sequence[SignerKey]) -> None:
        self._queue, self._storage, self.keys = queue, storage, tuple(keys)
        self._tail: TreeTail | None = None

    def read_checkpoint(self) -> VerifiedCheckpoint | None:
        """Return the last checkpoint, None before the first. Raises `SignatureInvalid` if a signature fails."""
        content = self._storage.read(CHECKPOINT)
        if content is None:
            return None
        return open_checkpoint(content.decode(errors="replace"), [key.verifier for key in self.keys])

    def publish(self) -> VerifiedCheckpoint:
        """Integrate all entries that are sequenced, and return the checkpoint over them.

        Raises:
            LogDamaged: the tiles do not belong to the last checkpoint; nothing is signed.
        """
        with self._storage.lock():
            last = self.read_checkpoint()
            if last is not None and self._queue.size() == last.checkpoint.size:
                return last
            tail = self._continue_from(last)
            begin = tail.size
            self._tail = None
            full = self._integrate(tail)
            self._storage.write(tail.partial_tiles())
            checkpoint = Checkpoint(self._queue.origin, tail.size, tail.root())
            content = self.sign(checkpoint)
            self._storage.write({CHECKPOINT: content.encode()})
            self._queue.drop_bodies(tail.size)
            if begin:
                for path in full:
                    self._storage.remove_partial(path)
            self._tail = tail
            return VerifiedCheckpoint(checkpoint, parse_note(content))

    def sign(self, checkpoint: Checkpoint) -> str:
        """Return the signed note of a checkpoint."""
        text = str(checkpoint)
        return str(SignedNote(text, tuple(key.sign(text) for key in self.keys)))

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
