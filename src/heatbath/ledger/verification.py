"""The verification of a whole log: entries, tiles of every level, signatures, and checkpoints seen elsewhere.

What it cannot find: a log that its key holder has written anew from the start, where nobody has kept an earlier
checkpoint and no witness has signed one. Memory does not grow with the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from heatbath.errors import BadInput, HeatbathError
from heatbath.ledger.checkpoint import Checkpoint, VerifiedCheckpoint, open_checkpoint
from heatbath.ledger.entry import Entry, parse_entry
from heatbath.ledger.merkle import hash_leaf, root_of
from heatbath.ledger.signed_note import VerifierKey
from heatbath.ledger.tile_storage import CHECKPOINT, TileStorage
from heatbath.ledger.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TileName,
    TileTree,
    decode_entries,
    find_full_tile,
    parse_tile_name,
    split_hashes,
)
from heatbath.ledger.tree_tail import root_of_levels

MAX_FINDINGS = 100

Observer = Callable[[int, Entry], None]
"""Called with the number of each entry and the entry, in their order."""
Progress = Callable[[int, int], None]
"""Called with entries verified and entries in all."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: the file it is in, and a sentence."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass
class VerificationReport:
    """The result of a verification: the extent of it, and findings.

    Attributes:
        checkpoint: the last checkpoint, None where it cannot be read.
        entries: number of entries whose hashes were made again.
        seen: number of checkpoints from elsewhere that the log continues.
        findings: what is wrong, at most `MAX_FINDINGS`.
        read_hashes: reads a tile of hashes of the log.
        unpublished: files beyond the checkpoint, which a process that was killed leaves and the next one writes.
    """

    checkpoint: VerifiedCheckpoint | None = None
    entries: int = 0
    seen: int = 0
    findings: list[Finding] = field(default_factory=list)
    unpublished: list[str] = field(default_factory=list)
    read_hashes: Callable[[TileName], list[bytes]] | None = None

    @property
    def is_intact(self) -> bool:
        """True if nothing is wrong."""
        return not self.findings

    def compute_checkpoint(self, size: int) -> Checkpoint:
        """Return the checkpoint over the first `size` entries. Raises `BadInput` for a size that the log lacks."""
        if self.checkpoint is None or self.read_hashes is None or not 0 <= size <= self.checkpoint.checkpoint.size:
            raise BadInput(f"the log has no {size} entries.")
        return Checkpoint(self.checkpoint.checkpoint.origin, size, TileTree(size, self.read_hashes).root())

    def add(self, path: str, message: str) -> None:
        """Add a finding, unless there are many."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(path, message))


def verify_log(
    storage: TileStorage,
    keys: Sequence[VerifierKey],
    *,
    witnesses: Sequence[VerifierKey] = (),
    quorum: int = 0,
    seen: Sequence[str] = (),
    observe: Observer | None = None,
    progress: Progress | None = None,
) -> VerificationReport:
    """Verify all files of a log against its last checkpoint.

    Args:
        keys: public keys of the log.
        witnesses: public keys of witnesses; at least `quorum` of them must have cosigned the checkpoint.
        seen: checkpoints of this log that were kept elsewhere, signed notes that it must continue.
        observe: receives every entry.
    """
    report = VerificationReport()
    content = storage.read(CHECKPOINT)
    if content is None:
        report.add(CHECKPOINT, "there is none.")
        return report
    try:
        report.checkpoint = open_checkpoint(content.decode(), keys, witnesses, quorum=quorum)
    except (HeatbathError, UnicodeDecodeError) as error:
        report.add(CHECKPOINT, str(error))
        return report
    checkpoint = report.checkpoint.checkpoint
    report.read_hashes = lambda name: split_hashes(_read_tile(storage, name)[1] or b"")
    _verify_tree(_EntryReader(storage, report, observe), checkpoint, report, progress)
    _verify_paths(storage, checkpoint.size, report)
    for text in seen:
        _verify_seen(storage, checkpoint, text, keys, report)
    return report


def _verify_tree(
    reader: _EntryReader, checkpoint: Checkpoint, report: VerificationReport, progress: Progress | None
) -> None:
    """Make all hashes again from the entries, and compare them with the tiles and the root."""
    size, levels = checkpoint.size, _LevelHashes(reader.storage, checkpoint.size, report)
    for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
        width = min(size - index * TILE_WIDTH, TILE_WIDTH)
        name = TileName("entries", index, width)
        levels.extend([hash_leaf(body) for body in reader.read(name)])
        report.entries += width
        if progress is not None:
            progress(report.entries, size)
    if levels.root() != checkpoint.root and report.is_intact:
        report.add(CHECKPOINT, "its root is not that of the entries: the log was rewritten after it was signed.")


@dataclass(frozen=True)
class _EntryReader:
    storage: TileStorage
    report: VerificationReport
    observe: Observer | None

    def read(self, name: TileName) -> list[bytes]:
        """Return the entries of a bundle, as many as it must have; those that it lacks are empty."""
        path, content = _read_tile(self.storage, name)
        bodies: list[bytes] = []
        try:
            bodies = decode_entries(content or b"")
        except BadInput as error:
            self.report.add(path, str(error))
        if content is None:
            self.report.add(path, "it is missing.")
        elif len(bodies) < name.width or (len(bodies) > name.width and path == str(name)):
            self.report.add(path, f"it has {len(bodies)} entries in place of {name.width}.")
        bodies = bodies[: name.width]
        for place, body in enumerate(bodies):
            self._parse(path, name.index * TILE_WIDTH + place, body)
        return bodies + [b""] * (name.width - len(bodies))

    def _parse(self, path: str, number: int, body: bytes) -> None:
        try:
            entry = parse_entry(body)
        except BadInput as error:
            self.report.add(path, f"entry {number}: {error}")
            return
        if self.observe is not None:
            self.observe(number, entry)


def _read_tile(storage: TileStorage, name: TileName) -> tuple[str, bytes | None]:
    """Return the content of a tile and its path; a partial tile may have been replaced by the full one."""
    content = storage.read(str(name))
    full = str(TileName(name.level, name.index))
    if content is None and (found := storage.read(full)) is not None:
        return full, found
    return str(name), content


class _LevelHashes:
    """Hashes of each level as they are made from the entries, compared with the tile of the level when it is full."""

    def __init__(self, storage: TileStorage, size: int, report: VerificationReport) -> None:
        self._storage, self._size, self._report = storage, size, report
        self._hashes: list[list[bytes]] = []
        self._counts: list[int] = []

    def extend(self, leaf_hashes: Sequence[bytes]) -> None:
        """Add the leaves of one bundle."""
        self._add(0, leaf_hashes)

    def _add(self, level: int, hashes: Sequence[bytes]) -> None:
        if level == len(self._hashes):
            self._hashes.append([])
            self._counts.append(0)
        self._hashes[level] += hashes
        self._counts[level] += len(hashes)
        if len(self._hashes[level]) == TILE_WIDTH:
            self._compare(level)
            full, self._hashes[level] = self._hashes[level], []
            self._add(level + 1, [root_of(full)])

    def _compare(self, level: int) -> None:
        """Compare the last tile of a level with the file."""
        made = self._hashes[level]
        name = TileName(level, (self._counts[level] - 1) // TILE_WIDTH, len(made))
        path, content = _read_tile(self._storage, name)
        if content is None:
            self._report.add(path, "it is missing.")
            return
        try:
            stored = split_hashes(content)
        except BadInput as error:
            self._report.add(path, str(error))
            return
        if len(stored) < len(made) or (len(stored) > len(made) and path == str(name)):
            self._report.add(path, f"it has {len(stored)} hashes in place of {len(made)}.")
        for place, (one, other) in enumerate(zip(made, stored, strict=False)):
            if one != other:
                self._report.add(path, self._describe(level, name.index * TILE_WIDTH + place))

    def _describe(self, level: int, node: int) -> str:
        if level == 0:
            return (
                f"hash {node} is not that of entry {node} in {TileName('entries', node // TILE_WIDTH)}: "
                "one of the two was changed."
            )
        below = TileName(level - 1, node)
        return f"hash {node} is not that of {below}: one of the two was changed."

    def root(self) -> bytes:
        """Return the root, after the tiles that are not full were compared."""
        for level in reversed(range(len(self._hashes))):
            if self._hashes[level]:
                self._compare(level)
        return root_of_levels(self._hashes)


def _verify_paths(storage: TileStorage, size: int, report: VerificationReport) -> None:
    """Compare partial tiles of earlier sizes with the tile that they became, and find files that do not belong."""
    for path in storage.list_paths():
        if path == CHECKPOINT:
            continue
        try:
            name = parse_tile_name(path)
        except BadInput:
            report.add(path, "it is not a file of a log.")
            continue
        nodes = size if name.level == "entries" else size >> TILE_HEIGHT * name.level
        end = name.index * TILE_WIDTH + name.width
        if end > nodes:
            report.unpublished.append(path)
        elif path != find_full_tile(path) and end < nodes:
            _compare_partial(storage, name, min(nodes - name.index * TILE_WIDTH, TILE_WIDTH), report)


def _compare_partial(storage: TileStorage, name: TileName, width: int, report: VerificationReport) -> None:
    _, whole = _read_tile(storage, TileName(name.level, name.index, width))
    part = storage.read(str(name))
    if part is None:  # removed since it was listed: it became full
        return
    if whole is None or not part or not whole.startswith(part) or _count(name, part) != name.width:
        report.add(str(name), "it is not the beginning of the tile that it became.")


def _count(name: TileName, content: bytes) -> int:
    try:
        return len(decode_entries(content) if name.level == "entries" else split_hashes(content))
    except BadInput:
        return -1


def _verify_seen(
    storage: TileStorage,
    checkpoint: Checkpoint,
    text: str,
    keys: Sequence[VerifierKey],
    report: VerificationReport,
) -> None:
    """Check that the log continues the checkpoint that was kept elsewhere."""
    try:
        old = open_checkpoint(text, keys).checkpoint
    except HeatbathError as error:
        report.add("the checkpoint seen elsewhere", str(error))
        return
    if old.size > checkpoint.size:
        report.add(
            CHECKPOINT,
            f"the log was cut: a checkpoint over {old.size} entries was seen elsewhere, and this one is over "
            f"{checkpoint.size}.",
        )
        return
    if old.origin != checkpoint.origin:
        report.add("the checkpoint seen elsewhere", f"it is of another log, {old.origin}.")
        return
    tree = TileTree(old.size, lambda name: split_hashes(_read_tile(storage, name)[1] or b""))
    try:
        is_beginning = tree.root() == old.root
    except BadInput:
        is_beginning = False
    if is_beginning:
        report.seen += 1
    else:
        report.add(
            CHECKPOINT,
            f"the log does not continue the checkpoint over {old.size} entries that was seen elsewhere: it was "
            "rewritten or forked.",
        )


def read_all_entries(storage: TileStorage, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of the first `size` entries. Raises `BadInput` for a missing or cut tile."""
    for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
        name = TileName("entries", index, min(size - index * TILE_WIDTH, TILE_WIDTH))
        path, content = _read_tile(storage, name)
        if content is None:
            raise BadInput(f"{path} is missing from the log.")
        yield from enumerate(decode_entries(content)[: name.width], index * TILE_WIDTH)
