"""Tiles: the files of a log, 256 hashes or entries each, and the tree hashes that are read from them.

Source: C2SP tlog-tiles, v0.1.0.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from heatbath.errors import BadInput
from heatbath.ledger.merkle import HASH_SIZE, fold_subtrees, reduce_pairs

TILE_WIDTH = 256
TILE_HEIGHT = 8
MAX_ENTRY_SIZE = 65_535
"""Bytes of an entry: its length is stored in two bytes."""

TileLevel = int | Literal["entries"]

_PATH = re.compile(r"tile/(entries|0|[1-9]\d?)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?")
_PARTIAL_SUFFIX = re.compile(r"\.p/\d+$")


@dataclass(frozen=True)
class TileName:
    """A tile of a level, from 0 for leaf hashes on, or of entries: number `index`, the first `width` of its 256."""

    level: TileLevel
    index: int
    width: int = TILE_WIDTH

    def __str__(self) -> str:
        groups = [f"{self.index % 1000:03}"]
        rest = self.index // 1000
        while rest:
            groups.append(f"x{rest % 1000:03}")
            rest //= 1000
        suffix = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{self.level}/{'/'.join(reversed(groups))}{suffix}"


def parse_tile_name(path: str) -> TileName:
    """Return the tile of a path. Raises `BadInput` for a path that is not the canonical one of a tile."""
    match = _PATH.fullmatch(path)
    if match is not None:
        level: TileLevel = "entries" if match[1] == "entries" else int(match[1])
        index = int("".join(part.lstrip("x") for part in match[2].split("/")))
        name = TileName(level, index, int(match[3]) if match[3] else TILE_WIDTH)
        if str(name) == path and (level == "entries" or level <= 63) and name.width <= TILE_WIDTH:
            return name
    raise BadInput(f"{path[:80]!r} is not the path of a tile, such as tile/0/x001/234 or tile/entries/000.p/17.")


def find_full_tile(path: str) -> str:
    """Return the path of the full tile that a partial one becomes."""
    return _PARTIAL_SUFFIX.sub("", path)


def list_tiles(size: int) -> Iterator[TileName]:
    """Yield the tiles of a tree of `size` leaves: entries first, then each level of hashes."""
    levels: list[tuple[TileLevel, int]] = [("entries", size)]
    level, count = 0, size
    while count:
        levels.append((level, count))
        level, count = level + 1, count // TILE_WIDTH
    for kind, nodes in levels:
        for index in range(nodes // TILE_WIDTH):
            yield TileName(kind, index)
        if nodes % TILE_WIDTH:
            yield TileName(kind, nodes // TILE_WIDTH, nodes % TILE_WIDTH)


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """Return a bundle of entries, each after its length in two bytes."""
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def decode_entries(bundle: bytes) -> list[bytes]:
    """Return the entries of a bundle. Raises `BadInput` for one that is cut."""
    entries, at = [], 0
    while at < len(bundle):
        length = int.from_bytes(bundle[at : at + 2], "big")
        entry = bundle[at + 2 : at + 2 + length]
        if at + 2 > len(bundle) or len(entry) < length:
            raise BadInput("a bundle of entries ends in the middle of one: the file is cut.")
        entries.append(entry)
        at += 2 + length
    return entries


def split_hashes(tile: bytes) -> list[bytes]:
    """Return the hashes of a tile. Raises `BadInput` for bytes that are not whole hashes."""
    if len(tile) % HASH_SIZE or len(tile) > HASH_SIZE * TILE_WIDTH:
        raise BadInput(f"a tile has {len(tile)} bytes: expected a multiple of {HASH_SIZE}, at most 8,192.")
    return [tile[at : at + HASH_SIZE] for at in range(0, len(tile), HASH_SIZE)]


ReadTile = Callable[[TileName], Sequence[bytes]]
"""Returns the hashes of a tile of hashes; those of a partial tile at least."""


class TileTree:
    """Tree hashes of the first `size` leaves of a log, read from tiles of hashes.

    Within a tile the hashes of all levels are made once, so that a proof reads and hashes about one tile a level.
    """

    def __init__(self, size: int, read_tile: ReadTile) -> None:
        self.size = size
        self._read_tile = read_tile
        self._levels: dict[tuple[int, int], list[list[bytes]]] = {}

    def root(self) -> bytes:
        """Return the root; the empty one for no leaves."""
        return self._subtree(0, self.size)

    def inclusion_proof(self, index: int) -> list[bytes]:
        """Return the hashes from the sibling of a leaf to the child of the root. Source: RFC 6962, section 2.1.1."""
        if not 0 <= index < self.size:
            raise BadInput(f"there is no entry {index} in a tree of {self.size}.")
        proof: list[bytes] = []
        begin, end = 0, self.size
        while end - begin > 1:
            middle = begin + _split_size(end - begin)
            if index < middle:
                proof.append(self._subtree(middle, end))
                end = middle
            else:
                proof.append(self._subtree(begin, middle))
                begin = middle
        return proof[::-1]

    def consistency_proof(self, size: int) -> list[bytes]:
        """Return the proof that the first `size` leaves begin this tree. Source: RFC 6962, section 2.1.2."""
        if not 0 < size <= self.size:
            raise BadInput(f"a consistency proof needs a first size of 1 to {self.size}, got {size}.")
        proof: list[bytes] = []
        begin, end, is_whole = 0, self.size, True
        while begin + size < end:
            middle = begin + _split_size(end - begin)
            if begin + size <= middle:
                proof.append(self._subtree(middle, end))
                end = middle
            else:
                proof.append(self._subtree(begin, middle))
                size, begin, is_whole = size - (middle - begin), middle, False
        if not is_whole:
            proof.append(self._subtree(begin, end))
        return proof[::-1]

    def _subtree(self, begin: int, end: int) -> bytes:
        """Return the hash of leaves `begin` to `end`, a range that the recursion of RFC 6962 arrives at."""
        subtrees = []
        while begin < end:
            height = (end - begin).bit_length() - 1
            subtrees.append(self._node(height, begin >> height))
            begin += 1 << height
        return fold_subtrees(subtrees)

    def _node(self, height: int, index: int) -> bytes:
        """Return the hash of a perfect subtree: number `index` of those of 2^height leaves."""
        level, inner = divmod(height, TILE_HEIGHT)
        width = TILE_WIDTH >> inner
        tile, place = divmod(index, width)
        return self._tile_levels(level, tile)[inner][place]

    def _tile_levels(self, level: int, tile: int) -> list[list[bytes]]:
        """Return the hashes of a tile, and of the perfect subtrees over 2, 4, ... of them."""
        found = self._levels.get((level, tile))
        if found is None:
            nodes = self.size >> (TILE_HEIGHT * level)
            width = min(nodes - tile * TILE_WIDTH, TILE_WIDTH)
            hashes = list(self._read_tile(TileName(level, tile, width)))[:width]
            if len(hashes) < width:
                raise BadInput(f"{TileName(level, tile, width)} has {len(hashes)} hashes in place of {width}.")
            found = [hashes]
            while len(found[-1]) > 1:
                last = found[-1]
                found.append(reduce_pairs(last[: len(last) & ~1]))
            self._levels[level, tile] = found
        return found


def _split_size(count: int) -> int:
    """Return the greatest power of two below `count`, for a count of two or more."""
    return 1 << ((count - 1).bit_length() - 1)
