"""The right edge of a log's tree: what must be known to append entries, and the tiles that appending makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heatbath.errors import HeatbathError
from heatbath.ledger.merkle import HASH_SIZE, fold_subtrees, hash_leaf, root_of
from heatbath.ledger.tiles import TILE_HEIGHT, TILE_WIDTH, TileName, decode_entries, encode_entries, split_hashes


class LogDamaged(HeatbathError):
    """Files of a log that are missing or contradict each other; the message names one."""


def root_of_levels(levels: Sequence[Sequence[bytes]]) -> bytes:
    """Return the root of a tree from the hashes of each level of tiles that are in no full tile, leaf hashes first."""
    subtrees: list[bytes] = []
    for hashes in reversed(levels):
        at = 0
        for height in range(TILE_HEIGHT - 1, -1, -1):
            if len(hashes) >> height & 1:
                subtrees.append(root_of(hashes[at : at + (1 << height)]))
                at += 1 << height
    return fold_subtrees(subtrees)


class TreeTail:
    """The partial tile of entries, and that of hashes on each level, of a log of `size` entries."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self._entries: list[bytes] = []
        self._hashes: list[list[bytes]] = []

    def root(self) -> bytes:
        """Return the root of the tree."""
        return root_of_levels(self._hashes)

    def append(self, bodies: Sequence[bytes]) -> dict[str, bytes]:
        """Append entries; return the tiles that became full, by path."""
        full: dict[str, bytes] = {}
        for body in bodies:
            self._entries.append(body)
            self._append_hash(0, hash_leaf(body), full)
            self.size += 1
            if len(self._entries) == TILE_WIDTH:
                full[str(TileName("entries", self.size // TILE_WIDTH - 1))] = encode_entries(self._entries)
                self._entries = []
        return full

    def _append_hash(self, level: int, node: bytes, full: dict[str, bytes]) -> None:
        if level == len(self._hashes):
            self._hashes.append([])
        hashes = self._hashes[level]
        hashes.append(node)
        if len(hashes) == TILE_WIDTH:
            index = (self.size + 1 >> TILE_HEIGHT * (level + 1)) - 1
            full[str(TileName(level, index))] = b"".join(hashes)
            self._hashes[level] = []
            self._append_hash(level + 1, root_of(hashes), full)

    def partial_tiles(self) -> dict[str, bytes]:
        """Return the tiles that are not full, by path."""
        tiles: dict[str, bytes] = {}
        if self._entries:
            name = TileName("entries", self.size // TILE_WIDTH, len(self._entries))
            tiles[str(name)] = encode_entries(self._entries)
        for level, hashes in enumerate(self._hashes):
            if hashes:
                index = self.size >> TILE_HEIGHT * (level + 1)
                tiles[str(TileName(level, index, len(hashes)))] = b"".join(hashes)
        return tiles

    @classmethod
    def read(cls, size: int, read: Callable[[str], bytes | None]) -> TreeTail:
        """Return the edge of a log of `size` entries from its files. Raises `LogDamaged` if one is missing or cut."""
        tail = cls(size)
        if width := size % TILE_WIDTH:
            name = TileName("entries", size // TILE_WIDTH, width)
            tail._entries = decode_entries(_read_file(str(name), read))
            if len(tail._entries) != width:
                raise LogDamaged(f"{name} has {len(tail._entries)} entries in place of {width}.")
        level = 0
        while nodes := size >> TILE_HEIGHT * level:
            hashes: list[bytes] = []
            if width := nodes % TILE_WIDTH:
                name = TileName(level, nodes // TILE_WIDTH, width)
                hashes = split_hashes(_read_file(str(name), read))
                if len(hashes) != width:
                    raise LogDamaged(f"{name} has {len(hashes) * HASH_SIZE} bytes in place of {width * HASH_SIZE}.")
            tail._hashes.append(hashes)
            level += 1
        return tail


def _read_file(path: str, read: Callable[[str], bytes | None]) -> bytes:
    content = read(path)
    if content is None:
        raise LogDamaged(f"{path} is missing from the log.")
    return content
